"""Errors of Python code that a compiled program calls."""

import contextlib
import re
from collections.abc import Iterator

import jax

from headstart.core.checks import HeadstartError


@contextlib.contextmanager
def host_errors() -> Iterator[None]:
    """Raise a host environment's HeadstartError again: JAX passes on only its text, at the end of a traceback.

    An allocation that fails becomes a HeadstartError too.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if str(error).startswith("RESOURCE_EXHAUSTED"):
            told = str(error).splitlines()[0]
            lower = "lower learner.num_envs, learner.capacity, episodes or seeds"
            raise HeadstartError(f"there is not enough memory ({told}): {lower}") from None
        texts = re.findall(r"^HeadstartError: (.+)$", str(error), re.MULTILINE)
        if not texts:
            raise
        raise HeadstartError(texts[-1]) from None
