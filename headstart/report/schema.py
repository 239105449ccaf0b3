"""report.json as pages of results read it: each name with its type, checked when a file is read."""

from typing import Annotated, Literal, NotRequired, TypedDict

from annotated_types import Interval as Range
from annotated_types import MinLen

from headstart.storage.schema import Steps


class Interval(TypedDict):
    """An interquartile mean and its interval over seeds."""

    iqm: float | None
    low: float | None
    high: float | None


class Priced(TypedDict):
    """A stage of an arm of report.json; `env_steps` are None if it is the training of a teacher from elsewhere."""

    env_steps: Steps | None


class Charted(TypedDict):
    """A learning curve of report.json."""

    env_steps: Annotated[tuple[Steps, ...], MinLen(1)]
    iqm: Annotated[tuple[float | None, ...], MinLen(1)]


class Reported(TypedDict):
    """An arm of report.json: what a page of results reads."""

    stages: Annotated[tuple[Priced, ...], MinLen(1)]
    curve: Charted
    initial: Interval
    final: Interval
    reached: NotRequired[float | None]
    versus: NotRequired[str]
    jump_start: NotRequired[Interval]
    asymptotic_gain: NotRequired[Interval]
    steps_to_threshold: NotRequired[Interval | None]
    time_ratio: NotRequired[float | None]
    time_ratio_interval: NotRequired[Interval | None]
    time_ratio_with_teacher: NotRequired[float | None]
    time_ratio_with_teacher_interval: NotRequired[Interval | None]


class Judged(TypedDict):
    """A claim of report.json and its verdict."""

    claim: str
    source: str
    verdict: Literal["reproduced", "not reproduced", "undecided"]
    evidence: str


class Placed(TypedDict):
    """An arm's place in a transfer matrix."""

    arm: str
    method: str
    teacher: str
    student: str


class Report(TypedDict):
    """report.json of an experiment."""

    format: int
    kind: Literal["experiment", "run", "sweep"]
    experiment: str
    scale: str | None
    seeds: Annotated[int, Range(ge=1, le=2**16)]
    metric: str
    baseline: str
    threshold: float | None
    arms: dict[str, Reported]
    claims: tuple[Judged, ...]
    matrix: NotRequired[tuple[Placed, ...]]
