"""Whether the user trusts files that may run code when they are opened, e.g. the models of other programs."""

from contextlib import AbstractContextManager

from headstart.core.permission import Permission

_TRUST = Permission("trust")


def trusting(files: bool) -> AbstractContextManager[None]:
    """Open files that may run code, if `files`, in the block."""
    return _TRUST.given(files)


def trusts() -> bool:
    """Whether such files may be opened here."""
    return bool(_TRUST)
