"""headstart train, headstart sweep, headstart resume."""

import dataclasses
import re
from pathlib import Path
from typing import Any

from headstart.cli.flags import DEVICES, ON, directory_of, engine_of, on_devices, options_of, read_flags, take
from headstart.cli.output import finish, show_report
from headstart.cli.stopping import works_in
from headstart.core.checks import HeadstartError, notice
from headstart.storage.places import POINTS

TRACK = "Write the numbers of metrics.csv for other tools as well: tensorboard, wandb (with the extras of these names)."


def train(args: list[str]) -> None:
    """Train a team: headstart train ENV --learner L [--guidance G --teacher RUN] --steps N --seeds S --out DIR."""
    example = "headstart train spread --learner ippo --out runs/a"
    until: Any = ("until", float | None, None, "Stop at the first evaluation whose mean return over seeds has reached this.")
    config, options, _ = _asked("train", train.__doc__ or "", example, args, [until])
    engine = engine_of(options.on)
    _check_alone(options)
    from headstart.experiments.distributed import go_on_with_run
    from headstart.training import run
    from headstart.training.progress import Opening, progress
    from headstart.training.trackers.choice import trackers

    track = trackers(options.track, options.out)
    works_in(options.out)
    opening = Opening(_rounded(config))
    with on_devices(options.devices), progress() as bar:
        elsewhere = (lambda path: go_on_with_run(path, engine, bar)) if engine else None
        config = dataclasses.replace(config, until=options.until)
        run.train(config, options.out, (opening, bar(options.out.name), *track), elsewhere)
    finish(options.out)


def sweep(args: list[str]) -> None:
    """Train every combination of settings in one program: headstart sweep ENV --over NAME=VALUE,VALUE.. --out DIR."""
    example = (
        "headstart sweep spread --learner maddpg --over learner.actor_lr=1e-2,1e-3 --over learner.gamma=0.9,0.95 --seeds 3"
    )
    text = "Train each point in a program of its own, one after another: then any setting may be swept."
    config, options, over = _asked("sweep", sweep.__doc__ or "", example, args, [("separate", bool, False, text)])
    engine = engine_of(options.on)
    _check_alone(options)
    from headstart.experiments.distributed import go_on_with_sweep
    from headstart.experiments.report import report_sweep
    from headstart.training import settings
    from headstart.training import sweep as sweeps
    from headstart.training.progress import Opening, progress, sweep_bar
    from headstart.training.trackers.choice import check, trackers

    check(options.track)
    wanted = settings.read(config, over)
    for name in wanted:
        if any(arg.partition("=")[0].replace("_", "-") == f"--{name}".replace("_", "-") for arg in args):
            raise HeadstartError(f"--over and --{name} both set {name}: leave one of them out")
    works_in(options.out)
    opening = Opening(_rounded(config))
    track = lambda point: trackers(options.track, options.out / POINTS / point)
    with on_devices(options.devices), progress() as bar, sweep_bar(options.out.name) as watch:
        elsewhere = (lambda home: go_on_with_sweep(home, engine, bar)) if engine else None
        watchers = lambda point: (opening, *watch(point), *track(point))
        sweeps.sweep(config, wanted, options.out, options.separate, watchers, elsewhere)
    show_report(report_sweep(options.out), options.out)


def _asked(verb: str, about: str, example: str, args: list[str], more: list[Any]) -> tuple[Any, Any, list[str]]:
    """(configuration, options, values of --over) that the arguments of `train` or `sweep` ask for. `more`: its own flags."""
    from headstart import registry
    from headstart.core.ranges import Count, Evaluations, Natural, Steps
    from headstart.training.config import Config

    natural: Any = Natural  # Python knows `Natural | None`, and pyright does not
    choices = ("--learner", "--guidance", "--teacher", *(("--over",) if verb == "sweep" else ()))
    given, rest = take(args, choices)
    if (not rest or rest[0].startswith("-")) and not {"-h", "--help"} & set(rest):
        raise HeadstartError(f"say which environment: headstart {verb} ENV (headstart list names them)")
    name = rest.pop(0) if rest and not rest[0].startswith("-") else "spread"
    learner = given["--learner"][-1] if given["--learner"] else "maddpg"
    guides = [registry.preset("guidance", guide) for guide in given["--guidance"]]
    if given["--teacher"] and not guides:
        raise HeadstartError("--teacher needs --guidance: how should the team learn from it? (headstart list names them)")
    out = Path("runs") / re.sub(r"\W+", "-", f"{name}-{learner}{'-sweep' * (verb == 'sweep')}")
    fields: list[Any] = [
        ("steps", Steps, 500_000, "Env-steps of each seed."),
        ("seeds", Count, 1, "Independent teams, trained side by side."),
        ("first_seed", Natural, 0, "Number of the first seed."),
        ("evaluations", Evaluations, 20, "How often to evaluate along the run."),
        ("episodes", Count, 100, "Episodes of an evaluation."),
        ("worth", natural | None, None, "Episodes in which teachers are measured before training; 0 for none."),
        (
            "keep",
            tuple[str, ...],
            (),
            "best: keep the team of the best evaluation. last: keep the last training state, so that "
            "the run can go on after its end. METRIC=LEVEL[,LEVEL..]: keep the first teams of these qualities.",
        ),
        *more,
        ("track", tuple[str, ...], (), TRACK),
        ON,
        DEVICES,
        ("out", Path, out, f"Directory for the {'run' if verb == 'train' else verb}; must be new or empty."),
        ("env", None, registry.preset("env", name), ""),
        ("learner", None, registry.preset("learner", learner), ""),
    ]
    one = len(guides) == 1
    _check_guidance_flags(rest, given["--guidance"])
    guides, rest = _with_learners(guides, rest)
    fields += [("guidance" if one else f"guidance{i}", None, guide, "") for i, guide in enumerate(guides)]
    inside = [flag for flag in ("--guidance.learner",) if any(hasattr(guide, "learner") for guide in guides)]
    shown = (*choices, "--trust", "--use", *inside)
    deciding = [f"{flag} {value}" for flag in ("--learner", "--guidance") for value in given[flag]]  # which flags there are
    used = [f"--use {module}" for module in sorted(registry.used)]
    prog = " ".join(["headstart", verb, name, *deciding, *used])
    options = read_flags(options_of(fields), rest, prog, about, shown, example)
    chosen = [options.guidance] if one else [getattr(options, f"guidance{i}") for i in range(len(guides))]
    taught = _taught(chosen, given["--teacher"])
    names = ("steps", "seeds", "first_seed", "evaluations", "episodes", "worth", "keep")
    config = Config(options.env, options.learner, tuple(taught), **{name: getattr(options, name) for name in names})
    for line in _roles(config.env, "--env"):
        print(line)
    return config, options, given.get("--over", [])


def _check_guidance_flags(args: list[str], names: list[str]) -> None:
    """Refuse a flag of guidance that is numbered if there is one guidance, or not numbered if there are several."""
    for arg in args:
        found = re.match(r"--guidance(\d*)\.([^=]+)", arg)
        if not found:
            continue
        number, setting = found.groups()
        if not names:
            raise HeadstartError(f"--guidance{number}.{setting} needs --guidance NAME (headstart list names them)")
        if len(names) == 1 and number:
            raise HeadstartError(f"there is one guidance, so that its flags have no number: --guidance.{setting}")
        if len(names) > 1 and not (number and int(number) < len(names)):
            flags = " or ".join(f"--guidance{i}.{setting} ({name})" for i, name in enumerate(names))
            raise HeadstartError(f"there are {len(names)} guidance, numbered in their order: {flags}")


def _with_learners(guides: list[Any], args: list[str]) -> tuple[list[Any], list[str]]:
    """Guidance with the learner inside that `--guidance.learner NAME` names, whose settings become flags; the other words."""
    from headstart import registry

    made = []
    for i, guide in enumerate(guides):
        flag = f"--guidance{i if len(guides) > 1 else ''}.learner"
        if any(field.name == "learner" for field in dataclasses.fields(guide)):
            given, args = take(args, (flag,))
            named = given[flag]
            guide = dataclasses.replace(guide, learner=registry.preset("learner", named[0])) if named else guide
        made.append(guide)
    return made, args


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


def _roles(env: Any, flag: str) -> list[str]:
    """A line about who forms a role in another library's environment, where that was found by names and spaces."""
    from headstart.envs.host.env import HostEnv

    if not isinstance(env, HostEnv):
        return _roles(env.env, f"{flag}.env") if hasattr(env, "env") else []
    roles = "; ".join(f"{role}: {', '.join(names)}" for role, names in env.spec.names.items())
    return [f"roles and their agents: {roles} ({flag}.roles ROLE=AGENT,AGENT says otherwise)"]


def _rounded(config: Any) -> list[str]:
    """A line if a run has more env-steps than it was asked for."""
    from headstart.training.extend import rounded

    learner = config.learner.make(config.env.spec)
    line = rounded(config.steps, learner.rollout * learner.num_envs)
    return [line] if line else []


def resume(args: list[str]) -> None:
    """Go on with an interrupted run, sweep or experiment, or with a run for longer: headstart resume DIR [--steps N]."""
    directory, rest = directory_of(args, "resume")
    from headstart.core.ranges import Steps

    steps = "Env-steps of each seed in all, to go on with a run that has finished, or to change the length of another."
    choices, example = ("--use", "--accept-changed", "--trust"), "headstart resume runs/four --steps 400000"
    track = f"{TRACK} Trackers that the run has go on."
    options = options_of([("steps", Steps | None, None, steps), ("track", tuple[str, ...], (), track), ON, DEVICES])
    given = read_flags(options, rest, "headstart resume DIR", resume.__doc__ or "", choices, example)
    wanted, engine = given.steps, engine_of(given.on)
    _check_alone(given)
    works_in(directory, resumes=True)
    with on_devices(given.devices):
        _resume(directory, wanted, engine, given.track)


def _check_alone(options: Any) -> None:
    """Refuse trackers, which work in this process, for a training that does not."""
    if options.on and options.track:
        raise HeadstartError("--track works only when training in this process: leave out --on or --track")


def _resume(directory: Path, wanted: int | None, engine: Any, track: tuple[str, ...]) -> None:
    """Go on with what is in a directory, to a number of env-steps if one is `wanted`, on an engine if there is one."""
    from headstart.experiments import run as experiment
    from headstart.experiments.distributed import go_on_with_run, go_on_with_sweep
    from headstart.experiments.report import report_sweep
    from headstart.training import run
    from headstart.training import sweep as sweeps
    from headstart.training.progress import progress, sweep_bar
    from headstart.training.trackers.choice import check, tracked, trackers

    check(track)
    kind = next((kind for kind in ("experiment", "sweep") if (directory / f"{kind}.json").exists()), None)
    if kind and wanted is not None:
        a = {"experiment": "an experiment", "sweep": "a sweep"}[kind]
        raise HeadstartError(f"{directory} is {a}, which defines the lengths of its runs: leave out --steps")
    if kind == "experiment" and track:
        raise HeadstartError(f"{directory} is an experiment, whose runs have no trackers: leave out --track")
    if engine and wanted is not None:
        raise HeadstartError("--steps cannot be combined with --on: leave out --on to change the length of a run")
    if kind == "sweep" and engine:
        with progress() as bar:
            go_on_with_sweep(directory, engine, bar)
        return show_report(report_sweep(directory), directory)
    if kind == "sweep":
        with sweep_bar(directory.name) as watch:
            sweeps.resume(directory, lambda point: (*watch(point), *trackers(track, directory / POINTS / point)))
        return show_report(report_sweep(directory), directory)
    if kind == "experiment":
        with progress() as bar:
            report = experiment.resume(directory, bar, engine)
        return show_report(report, directory)
    if wanted is None:
        _say_if_finished(directory)
    with progress() as bar:
        if engine:
            for name in tracked(directory):
                notice(f"{directory} has been tracked with {name}, which goes on only without --on")
            go_on_with_run(directory, engine, bar)
        else:
            run.resume(directory, (bar(directory.name), *trackers(track, directory)), steps=wanted)
    finish(directory)


def _say_if_finished(directory: Path) -> None:
    from headstart.registry import command
    from headstart.storage import files, schema

    about = files.read_json(directory / "run.json", schema.Run)
    if about.get("finished"):
        had, longer = about["env_steps"], command("resume", directory, saved=about["config"])
        print(f"{directory} has finished after {had:,} env-steps; to go on: {longer} --steps {2 * had}")
