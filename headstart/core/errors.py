"""Errors of Python code that a compiled program calls."""

import contextlib
import logging
import re
from collections.abc import Iterator

import jax

from headstart.core.checks import HeadstartError


def log_only_unknown_errors() -> None:
    """Keep JAX from logging the traceback of a HeadstartError in a callback: its own line is enough."""
    logging.getLogger("jax._src.callback").addFilter(_is_unknown)


def _is_unknown(record: logging.LogRecord) -> bool:
    return record.exc_info is None or not isinstance(record.exc_info[1], HeadstartError)


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
