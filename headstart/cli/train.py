"""headstart train, headstart resume."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from headstart.cli.flags import directory_of, options_of, read_flags, take
from headstart.cli.output import finish, show_report
from headstart.cli.stopping import works_in
from headstart.core.checks import HeadstartError


def train(args: list[str]) -> None:
    """Train a team: headstart train ENV --learner L [--guidance G --teacher RUN] --steps N --seeds S --out DIR."""
    from headstart import registry
    from headstart.core.ranges import Count, Evaluations, Natural, Steps
    from headstart.training import run
    from headstart.training.config import Config
    from headstart.training.progress import progress

    given, rest = take(args, ("--learner", "--guidance", "--teacher"))
    if (not rest or rest[0].startswith("-")) and not {"-h", "--help"} & set(rest):
        raise HeadstartError("say which environment: headstart train ENV (headstart list names them)")
    name = rest.pop(0) if rest and not rest[0].startswith("-") else "spread"
    learner = given["--learner"][-1] if given["--learner"] else "maddpg"
    guides = [registry.preset("guidance", guide) for guide in given["--guidance"]]
    if given["--teacher"] and not guides:
        raise HeadstartError("--teacher needs --guidance: how should the team learn from it? (headstart list names them)")
    fields: list[Any] = [
        ("steps", Steps, 500_000, "Env-steps of each seed."),
        ("seeds", Count, 1, "Independent teams, trained side by side."),
        ("first_seed", Natural, 0, "Number of the first seed."),
        ("evaluations", Evaluations, 20, "How often to evaluate along the run."),
        ("episodes", Count, 100, "Episodes of an evaluation."),
        ("until", float | None, None, "Stop at the first evaluation whose mean return over seeds has reached this."),
        ("worth", int | None, None, "Episodes in which teachers are measured before training; 0 for none."),
        ("out", Path, Path("runs") / re.sub(r"\W+", "-", f"{name}-{learner}"), "Directory for the run; must be new or empty."),
        ("env", None, registry.preset("env", name), ""),
        ("learner", None, registry.preset("learner", learner), ""),
    ]
    one = len(guides) == 1
    fields += [("guidance" if one else f"guidance{i}", None, guide, "") for i, guide in enumerate(guides)]
    options = read_flags(options_of(fields), rest, f"headstart train {name}", train.__doc__ or "")
    chosen = [options.guidance] if one else [getattr(options, f"guidance{i}") for i in range(len(guides))]
    taught = _taught(chosen, given["--teacher"])
    scalars = {f: getattr(options, f) for f in ("steps", "seeds", "first_seed", "evaluations", "episodes", "until", "worth")}
    config = Config(options.env, options.learner, tuple(taught), **scalars)
    works_in(options.out)
    with progress() as bar:
        run.train(config, options.out, (bar(options.out.name),))
    finish(options.out)


def _taught(guides: list[Any], teachers: list[str]) -> list[Any]:
    """Guidance with its teachers; the last teacher serves all remaining guidance. Guidance that takes none is unchanged."""
    from headstart.core.guidance import takes_teacher

    takers = [i for i, guide in enumerate(guides) if takes_teacher(guide)]
    if teachers and not takers:
        raise HeadstartError("this guidance does not learn from a teacher: leave out --teacher")
    if len(teachers) > len(takers):
        count = f"{len(teachers)} teachers but {len(takers)} guidance to learn from them"
        raise HeadstartError(f"{count}: give each --guidance one --teacher")
    given = {i: teachers[min(n, len(teachers) - 1)] for n, i in enumerate(takers) if teachers}
    return [dataclasses.replace(guide, teacher=given[i]) if i in given else guide for i, guide in enumerate(guides)]


def resume(args: list[str]) -> None:
    """Go on with a run or an experiment that was interrupted: headstart resume DIR."""
    directory = directory_of(args, "resume", resume.__doc__ or "")[0]
    works_in(directory, resumes=True)
    from headstart.experiments import run as experiment
    from headstart.training import run
    from headstart.training.progress import progress

    if (directory / "experiment.json").exists():
        with progress() as bar:
            report = experiment.resume(directory, bar)
        return show_report(report, directory)
    with progress() as bar:
        run.resume(directory, (bar(directory.name),))
    finish(directory)
