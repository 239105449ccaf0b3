"""The files of a run, a team and an experiment: each name with its type and range, checked when a file is read."""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

from annotated_types import Interval, MaxLen, MinLen

from headstart.core.ranges import NonNegative

Steps = Annotated[int, Interval(ge=0, le=2**53)]
Seed = Annotated[int, Interval(ge=0, le=2**31 - 1)]
Seeds = Annotated[tuple[Seed, ...], MinLen(1), MaxLen(2**16)]
Size = Annotated[int, Interval(ge=0, le=2**20)]
"""Numbers that an array may have along one axis."""
Some = Annotated[int, Interval(ge=1, le=2**20)]
Agents = Annotated[int, Interval(ge=1, le=2**16)]
Horizon = Annotated[int, Interval(ge=1, le=2**31 - 1)]
Digest = Annotated[str, MinLen(64), MaxLen(64)]


class Part(TypedDict):
    """An environment, a learner or a guidance."""

    name: str
    settings: dict[str, Any]
    module: NotRequired[str]


class Guide(Part):
    """Guidance, and whether its teacher is a team or demonstrations (saved beside run.json), or Python code; and whether the
    saved one may run code and was trusted, which a run that goes on must be told again."""

    teacher: NotRequired[bool]
    scripted: NotRequired[bool]
    trusted: NotRequired[bool]


class Actions(TypedDict, total=False):
    """Discrete heads, or continuous numbers."""

    discrete: Annotated[tuple[Some, ...], MinLen(1)]
    start: tuple[int, ...]
    options: tuple[tuple[str, ...], ...]
    aims: tuple[str, ...]
    continuous: Some
    low: tuple[float, ...]
    high: tuple[float, ...]
    names: tuple[str, ...]
    units: tuple[str, ...]


Plain = tuple[str, Size, Size, str]
Own = tuple[str, Size, Size, str, bool]
WithKinds = tuple[str, Size, Size, str, bool, tuple[Size, ...]]


class Role(TypedDict):
    """Agents with the same spaces."""

    agents: Agents
    names: NotRequired[tuple[str, ...]]
    obs: Annotated[tuple[Plain | Own | WithKinds, ...], MinLen(1)]
    actions: Actions


class Spec(TypedDict):
    """A team's spec."""

    horizon: Horizon
    state_size: Steps
    messages: NotRequired[tuple[tuple[str, Size, str, str], ...]]
    roles: Annotated[dict[str, Role], MinLen(1)]


class Stage(TypedDict):
    """What a teacher's training has cost; `alongside`: it was a companion's, which trained while the student did.

    `env_steps` are None if the teacher is a model from elsewhere, whose training is not known.
    """

    name: str
    env: str
    env_steps: Steps | None
    run_s: NonNegative | None
    compile_s: NonNegative | None
    alongside: NotRequired[bool]


class Timing(TypedDict, total=False):
    """Seconds."""

    run_s: NonNegative | None
    compile_s: NonNegative | None


class Files(TypedDict):
    """Digests of what a finished run has written; `kept` are those of the teams that it keeps, by their directories."""

    metrics: Digest
    policy: Digest
    kept: NotRequired[dict[str, Digest]]


class Labelled(TypedDict):
    """A part, as far as a report needs it."""

    name: str


class Played(TypedDict, total=False):
    """The configuration in run.json, as far as a report needs it."""

    env: Labelled


class Worth(TypedDict):
    """What a teacher was worth before training: returns of each seed; `roles` are those it guides, if not all. Of one that is
    `recorded`, the return in its recordings is known, and nothing beside it."""

    guidance: Steps
    name: str
    episodes: Steps
    teacher: tuple[float | None, ...]
    random: tuple[float | None, ...]
    student: tuple[float | None, ...]
    better: bool
    recorded: NotRequired[bool]
    roles: NotRequired[tuple[str, ...]]


class Extended(TypedDict):
    """What a run was before it went on to another length. `fresh`: its training state was not kept, only its team `policy`."""

    steps: Steps
    evaluations: Steps
    env_steps: Steps
    finished: bool
    fresh: bool
    policy: NotRequired[Digest]
    timing: NotRequired[Timing | None]


class _Run(TypedDict):
    format: int
    seeds: Seeds
    env_steps: Steps
    learning_starts: NotRequired[Steps | None]
    finished: NotRequired[bool]
    timing: NotRequired[Timing | None]
    teachers: NotRequired[tuple[Stage, ...]]
    id: NotRequired[Digest]
    files: NotRequired[Files]
    worth: NotRequired[tuple[Worth, ...]]
    extended: NotRequired[tuple[Extended, ...]]
    diverged: NotRequired[str]


class Measured(_Run):
    """run.json, as far as a report needs it."""

    config: NotRequired[Played]


class Configured(TypedDict):
    """The configuration in run.json."""

    env: Part
    learner: Part
    guidance: tuple[Guide, ...]
    steps: Steps
    seeds: Annotated[int, Interval(ge=1, le=2**16)]
    first_seed: Seed
    evaluations: Steps
    episodes: Steps
    until: NotRequired[float | None]
    worth: NotRequired[Steps | None]
    keep: NotRequired[tuple[str, ...]]


class Run(_Run):
    """run.json."""

    config: Configured
    spec: NotRequired[Spec]
    cores: NotRequired[Annotated[int, Interval(ge=1, le=2**16)] | None]
    guides: NotRequired[tuple[Digest | None, ...]]


class Policy(TypedDict):
    """policy.json."""

    format: int
    spec: Spec
    learner: Part
    env: Part | None
    seeds: Seeds
    env_steps: Steps | None
    trained: NotRequired[Spec]
    select: NotRequired[Literal["nearest", "first"]]
    parameters: NotRequired[Digest]
    run: NotRequired[Digest]


class Foreign(TypedDict):
    """foreign.json: a teacher of another program. `model`: the sha256 of its file. `program`: which one wrote it, else ONNX."""

    format: int
    spec: Spec
    model: Digest
    program: NotRequired[Literal["onnx", "sb3", "torchscript"]]


class Demonstrations(TypedDict):
    """demos.json. `actions`, `available` and `dead`: whether the file has them. `means` are over episodes. `compact`: as in
    `Demos.write`."""

    format: int
    spec: Spec
    env: Part | None
    episodes: Some
    steps: Annotated[int, Interval(ge=1, le=2**40)]
    events: tuple[str, ...]
    actions: bool
    available: bool
    means: dict[str, float]
    notes: dict[str, Any]
    arrays: Digest
    dead: NotRequired[bool]
    compact: NotRequired[bool]


class Zoo(TypedDict):
    """zoo.json: a team or demonstrations that come with headstart.

    `means`: {"return" or event: (mean, low, high)} over `episodes`. `of`: the digest of policy.json or demos.json.
    """

    format: int
    title: str
    env: str
    learner: str
    commands: Annotated[tuple[str, ...], MinLen(1)]
    seed: Seed
    env_steps: Steps
    episodes: Some
    means: dict[str, tuple[float, float, float]]
    headstart: str
    of: Digest


Kept = TypedDict(
    "Kept",
    {
        "format": int,
        "column": str,
        "level": float | None,
        "value": float,
        "return": float,
        "updates": Steps,
        "env_steps": Steps,
    },
)
"""kept.json: the evaluation whose team is kept, by a column of metrics.csv; `level` is None for the best one."""


class Experiment(TypedDict):
    """experiment.json."""

    format: int
    experiment: str
    scale: str
    arms: Annotated[tuple[str, ...], MinLen(1)]
    seeds: Annotated[int, Interval(ge=1, le=2**16)]


class Swept(TypedDict):
    """A point of a sweep: the name of its directory, and its values by setting."""

    name: Annotated[str, MinLen(1)]
    values: dict[str, Any]


class Sweep(TypedDict):
    """sweep.json. `separate`: whether each point has a program of its own."""

    format: int
    settings: Annotated[tuple[str, ...], MinLen(1)]
    points: Annotated[tuple[Swept, ...], MinLen(1)]
    separate: bool


class Task(TypedDict):
    """What the worker of a task tells of it. `kind`: the error's class, empty for one that headstart does not know."""

    format: int
    state: Literal["running", "done", "interrupted", "failed"]
    env_steps: Steps
    total_steps: Steps
    returns: NotRequired[tuple[float, ...] | None]
    steps_per_second: NotRequired[NonNegative]
    lines: tuple[tuple[Literal["out", "err"], str], ...]
    error: NotRequired[str]
    kind: NotRequired[str]


class Tracked(TypedDict):
    """How an online tracker finds a run again."""

    format: int
    id: str


class Note(TypedDict):
    """The note of a checkpoint."""

    updates: Steps
    run_s: NonNegative
    compile_s: NonNegative
    room: Steps
