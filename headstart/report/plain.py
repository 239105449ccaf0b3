"""Numbers for other tools and for readers: JSON without NaN or Infinity, short text, JSON for a page's scripts."""

import json
import math
from typing import Any

import numpy as np


def number(x: Any) -> int | float | None:
    """A plain number for JSON: integers stay so, floats keep nine significant digits, NaN and ±inf are None."""
    if x is None:
        return None
    if isinstance(x, int | np.integer):
        return int(x)
    value = float(x)
    return float(f"{value:.9g}") if math.isfinite(value) else None


def plain(x: Any, digits: int | None = None) -> Any:
    """`x` with arrays, tuples and numpy scalars converted for `json.dumps(..., allow_nan=False)`.

    Other values that JSON lacks (a path, a version object) become their text. `digits` rounds floats to decimals, which
    keeps long recordings small.
    """
    if x is None or isinstance(x, bool | str):
        return x
    if isinstance(x, np.bool_):
        return bool(x)
    if isinstance(x, int | float | np.number):
        value = number(x)
        return round(value, digits) if digits is not None and isinstance(value, float) else value
    if isinstance(x, dict):
        return {str(k): plain(v, digits) for k, v in x.items()}
    if isinstance(x, list | tuple | set | np.ndarray):
        return [plain(v, digits) for v in (x.tolist() if isinstance(x, np.ndarray) else x)]
    return str(x)


def script_json(x: Any, digits: int | None = None) -> str:
    """JSON for the inside of a `<script>` element: no character sequence in it can end the element or open a comment.

    Raises ValueError if a NaN or an infinity is left, which `plain` prevents.
    """
    text = json.dumps(plain(x, digits), allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def text(x: float | None, beside: float | None = None) -> str:
    """A number for people: three significant digits but no more than two decimals, thousands separated; `–` for none.

    Small numbers keep two digits. With `beside`, `x` takes the decimals of that number, so that numbers of one row line up.
    """
    if x is None or not math.isfinite(x):
        return "–"
    if isinstance(x, int):
        return f"{x:,}"
    size = abs(x if beside is None else beside)
    exponent = math.floor(math.log10(size)) if size else 0
    decimals = max(0, 2 - max(0, exponent)) if size >= 0.1 or not size else min(6, 1 - exponent)
    return f"{round(x, decimals) + 0.0:,.{decimals}f}"


def interval_text(interval: dict[str, Any] | None, endless: str = "never") -> str:
    """`12.3 [9.9, 14.8]`; only the middle if no bound is known; `–` if there is nothing.

    A null middle or upper bound beside a known bound was infinite: it reads `never`, as for times, or what `endless` says.
    """
    low, middle, high = ((interval or {}).get(k) for k in ("low", "iqm", "high"))
    if low is None and high is None:
        return text(middle)
    size = max(abs(x) for x in (low, middle, high) if x is not None)
    shown = [text(low, size), *(endless if x is None else text(x, size) for x in (middle, high))]
    return f"{shown[1]} [{shown[0]}, {shown[2]}]"


def over_seeds(count: int) -> str:
    """What the numbers of a table are, by the number of seeds."""
    return "of one seed, so without an interval" if count == 1 else f"interquartile mean [95 % interval] over {count} seeds"
