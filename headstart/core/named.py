"""Find an environment by its name, or refuse in one clear line."""

import contextlib
import importlib
import json
import pkgutil
import sys
from difflib import get_close_matches
from typing import Any

from headstart.core.checks import HeadstartError, place
from headstart.core.own import installed, named_by_user

EXTRAS = {
    "pettingzoo": "pettingzoo",
    "mpe2": "pettingzoo",
    "gymnasium": "pettingzoo",
    "jaxmarl": "jaxmarl",
    "mujoco": "mujoco",
}
"""{package: the extra of headstart that installs it}."""


def named(path: str) -> Any:
    """The module "package.module" or its attribute "package.module:thing"; HeadstartError if it is not there.

    A package that needs an extra of headstart must be installed, unless the user has named it: a file of its name is not it.
    """
    module, _, thing = path.partition(":")
    if module == "__main__":
        raise HeadstartError(f"{path} is in the running script: put the environment into a file of its own, and name that")
    if not all(module.split(".")):
        raise HeadstartError(f"'{path}' is not the name of an environment: package.module or package.module:thing")
    top = module.split(".")[0]
    if top in EXTRAS and not named_by_user(top) and not installed(top):
        raise HeadstartError(_extra(path, top))
    try:
        # Some packages print on import, and JaxMARL leaves replaced output streams behind.
        with contextlib.redirect_stdout(sys.stderr), contextlib.redirect_stderr(sys.stderr):
            found = importlib.import_module(module)
    except ImportError as error:
        raise HeadstartError(_why(path, module, error)) from None
    except (Exception, SystemExit) as error:  # the module's own code, which may also call sys.exit
        raise HeadstartError(_failed(module, error)) from None
    if not thing:
        return found
    if not hasattr(found, thing):
        near = get_close_matches(thing, dir(found), 1)
        raise HeadstartError(f"module {module} has no '{thing}'" + (f": did you mean {near[0]}?" if near else ""))
    return getattr(found, thing)


def _extra(path: str, package: str) -> str:
    return f"'{path}' needs the package {package}, which is not installed: pip install 'headstart[{EXTRAS[package]}]'"


def _failed(module: str, error: BaseException) -> str:
    """A module's own error in one line, with the place where the module raised it."""
    if isinstance(error, HeadstartError):
        return f"{module} could not be imported: {error}"
    where = "" if isinstance(error, SyntaxError) else f" ({place(error)})"
    return " ".join(f"{module} could not be imported: {type(error).__name__}: {error}{where}".split())


def _why(path: str, module: str, error: ImportError) -> str:
    missing, top = error.name or "", module.split(".")[0]
    if not isinstance(error, ModuleNotFoundError) or not f"{module}.".startswith(f"{missing}."):
        mend = "check its name, or install it" if named_by_user(top) else "see the installation notes of its package"
        return f"{path} needs something that is not installed ({error}; {place(error)}): {mend}"
    if missing == top and top in EXTRAS:
        return _extra(path, top)
    if missing == top and named_by_user(top):
        mend = "name one module each time" if "," in top else "check its name"
        return f"'{path}' needs the module {top}, which is neither in this directory nor installed: {mend}"
    if missing == top:
        own = f"check its name, or pass --use {module} if it is in this directory"
        return f"'{path}' needs the module {top}, which is not installed: {own}"
    if missing == f"{top}.py":
        return f"'{path}' is the name of a file: write {top}, without .py"
    parent = importlib.import_module(missing.rpartition(".")[0])
    names = [info.name for info in pkgutil.iter_modules(getattr(parent, "__path__", []))]
    near = get_close_matches(missing.rpartition(".")[2], names, 2, 0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has: {', '.join(n for n in names if not n.startswith('_'))}"
    return f"'{path}': {parent.__name__} has no '{missing.rpartition('.')[2]}'; {hint}"


def options_text(options: Any) -> str:
    """Options as one canonical JSON object; HeadstartError if they are no JSON object."""
    try:
        value = json.loads(options) if isinstance(options, str) else options
        text = json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        raise HeadstartError(f"env.options must be a JSON object, e.g. '{{\"N\": 4}}', not {options}") from None
    if not isinstance(value, dict):
        raise HeadstartError(f"env.options must be a JSON object, e.g. '{{\"N\": 4}}', not {options}")
    return text


def called(make: Any, label: str, options: dict[str, Any]) -> Any:
    """`make(**options)`; HeadstartError if it refuses them."""
    try:
        return make(**options)
    except HeadstartError:
        raise
    except Exception as error:
        message = " ".join(str(error).split())
        raise HeadstartError(f"{label} could not be made with options {json.dumps(options)}: {message}") from None
