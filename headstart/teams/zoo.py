"""The zoo: small trained teams, and demonstrations, that come with headstart."""

from typing import Any, NamedTuple

from headstart.report.metric import label
from headstart.report.plain import interval_text
from headstart.storage import files, places, schema


class Entry(NamedTuple):
    """A team of the zoo; `headstart.load("zoo:NAME")` loads it, `headstart.load_demos("zoo:NAME")` if it is demonstrations."""

    name: str
    title: str
    env: str
    """The environment's name on the command line; the commands have its settings."""
    learner: str
    env_steps: int
    """Env-steps that training took, the teacher's included."""
    means: dict[str, tuple[float, float, float]]
    """{"return" or event, e.g. "win": (mean, low, high)}: the mean over `episodes` and its 95 % interval."""
    episodes: int
    """Greedy episodes in which the team was measured, or those recorded."""
    seed: int
    commands: tuple[str, ...]
    """What made it."""
    version: str
    """Of the headstart that made it."""
    demos: bool
    """Whether it is demonstrations."""
    digest: str
    """Of policy.json or demos.json."""


class Zoo(tuple[Entry, ...]):
    """All entries. Its text is a table, and `zoo["spread-4"]` is the entry of that name."""

    def __getitem__(self, which: Any) -> Any:
        """The entry of a name or at an index, or the entries of a slice."""
        if isinstance(which, str):
            return _entry(places.named_in_zoo(f"{places.ZOO}{which}"))
        return super().__getitem__(which)

    def __repr__(self) -> str:
        rows = [HEADINGS, *map(row, self)]
        widths = [max(len(line[i]) for line in rows) for i in range(len(HEADINGS))]
        return "\n".join(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip() for line in rows
        )


HEADINGS = ("name", "environment", "learner", "env-steps", "return", "events", "what it is")


def row(entry: Entry) -> tuple[str, ...]:
    """An entry in words, a cell for each of `HEADINGS`."""
    rates = [f"{label(name)} {told(x)}" for name, x in entry.means.items() if name != "return"]
    kind = "demonstrations: " * entry.demos
    cells = (f"{entry.env_steps:,}", told(entry.means["return"]), ", ".join(rates) or "–", kind + entry.title)
    return (entry.name, entry.env, entry.learner, *cells)


def zoo() -> Zoo:
    """The trained teams that come with headstart, as a table: `print(headstart.zoo())`.

    `headstart.load("zoo:spread-4")` loads one, and "zoo:spread-4" stands for it wherever the directory of a teacher does.
    """
    return Zoo(map(_entry, places.zoo_names()))


def _entry(name: str) -> Entry:
    directory = places.TRAINED / name
    about = files.read_json(directory / "zoo.json", schema.Zoo)
    return Entry(
        name=name,
        title=about["title"],
        env=about["env"],
        learner=about["learner"],
        env_steps=about["env_steps"],
        means={measure: (mean, low, high) for measure, (mean, low, high) in about["means"].items()},
        episodes=about["episodes"],
        seed=about["seed"],
        commands=tuple(about["commands"]),
        version=about["headstart"],
        demos=files.kind(directory / "demos.json") is not None,
        digest=about["of"],
    )


def told(numbers: tuple[float, float, float]) -> str:
    """A mean with its interval in words."""
    return interval_text(dict(zip(("iqm", "low", "high"), numbers, strict=True)))
