"""headstart evaluate, headstart record, headstart render."""

import re
from pathlib import Path
from typing import Any

from headstart.cli.flags import directory_of, options_of, read_flags, take
from headstart.core.checks import HeadstartError, check_known


def evaluate(args: list[str]) -> None:
    """Score a trained team on fresh episodes with greedy actions: headstart evaluate DIR [--env ENV] [--adapt] [--sample]."""
    from headstart.core.ranges import Count, Select

    rest, team, env = _team_and_env(args, "evaluate")
    fields = [
        ("episodes", Count, 1000, "Episodes of each seed."),
        ("adapt", bool, False, "Fit the team to an environment of another size: pair agents, adapt observations by field."),
        (
            "select",
            Select,
            "nearest",
            "With --adapt: the entities to observe of more than it knows (the first, if actions choose them).",
        ),
        ("sample", bool, False, "Also score the actions of the exploring learner, as at the end of training."),
        *([("env", None, env, "")] if env is not None else []),
    ]
    choices, example = (
        ("--env", "--use", "--accept-changed"),
        "headstart evaluate runs/four --env.agents 6 --adapt",
    )
    options = read_flags(options_of(fields), rest, "headstart evaluate DIR", evaluate.__doc__ or "", choices, example)
    assert team is not None  # --help has ended the command
    from headstart.core.env import WithFindings
    from headstart.report.metric import label
    from headstart.training.progress import spread
    from headstart.training.run import endings, scores
    from headstart.views.adapt import describe_adaptation

    if options.episodes < 1:
        raise HeadstartError(f"episodes must be at least 1, not {options.episodes}")
    if options.adapt and options.sample:
        raise HeadstartError("a team that was fitted to other agents has greedy actions only: leave --sample out")
    if options.select != "nearest" and not options.adapt:
        raise HeadstartError("--select goes with --adapt: a team that is not fitted observes all that there is")
    if options.adapt:
        there = options.env.spec
        for role in there.roles:
            check_known("role of this team", role, team.spec.roles)
            learned = (team.trained or team.spec).roles[role]
            notes = describe_adaptation(role, there.roles[role].obs, learned.obs, options.select, learned.aimed)
            agents = f"{there.roles[role].agents} agents by a team of {team.spec.roles[role].agents}"
            print(f"adapted {role}: {', '.join([agents, *notes])}")
        team = team.adapt(there, options.select)
    for kind in ("greedy", "sampled")[: 1 + options.sample]:
        found = scores(team, options.env, options.episodes, kind == "sampled")
        returns, word = found.pop("return"), "" if kind == "greedy" else "sampled "
        for seed, value in zip(team.seeds, returns, strict=True):
            print(f"seed {seed}: {word}return {value:.2f}")
        seeds = f"{len(returns)} seed{'s' * (len(returns) != 1)}"
        print(f"{word}return {spread(returns)} over {seeds}, {options.episodes} {kind} episodes each")
        for event, counts in found.items():
            print(f"{word}{label(event)} {spread(counts)}")
    if isinstance(options.env, WithFindings):
        for line in options.env.findings(endings(team, options.env)):
            print(line)


def _team_and_env(args: list[str], command: str) -> tuple[list[str], Any, Any]:
    """(further arguments, the team of the command's directory, where it is to play): of `--env`, or of its training.

    With `--help` there is no team, and without `--env` no environment.
    """
    given, rest = take(args, ("--env",))
    directory, rest = directory_of(rest, command)
    helps = "--help" in rest
    if helps and not given["--env"]:
        return rest, None, None
    from headstart import registry
    from headstart.teams.saved import load

    team = None if helps else load(directory)
    env = registry.preset("env", given["--env"][-1]) if given["--env"] else team and _home(team, directory, "pass --env ENV")
    return rest, team, env


def _home(team: Any, directory: Path, otherwise: str) -> Any:
    """The environment that a team was trained in; HeadstartError with the module that is missing, or what is so `otherwise`."""
    from headstart import registry
    from headstart.storage import files

    if team.env is not None:
        return team.env
    if trained_in := files.read_json(directory / "policy.json").get("env"):
        registry.decode("env", trained_in)  # says which module is missing
    raise HeadstartError(f"{directory} does not say where its team was trained: {otherwise}")


def record(args: list[str]) -> None:
    """Record demonstrations, episodes of a trained team: headstart record DIR --out DEMOS [--episodes N] [--actions].

    --expert ENV in place of DIR records the expert that an environment brings with it.
    """
    from headstart.core.ranges import Count, Natural

    given, args = take(args, ("--expert",))
    rest, team, env = _expert_env(given["--expert"][0], args) if given["--expert"] else _team_and_env(args, "record")
    origin = given["--expert"][0] if given["--expert"] else Path(team.loaded_from).name if team else "NAME"
    name = re.sub(r"\W+", "-", origin).strip("-")
    fields = [
        ("episodes", Count, 1000, "Episodes to record."),
        ("seed", tuple[Natural, ...], (0,), "Index of one of the team's seeds, from 0; or one for each agent, to mix them."),
        ("first_episode", Natural, 0, "Number of the first episode; recordings without a common number are independent."),
        ("greedy", bool, False, "Record the most likely actions, instead of those that the learner draws."),
        ("actions", bool, False, "Record the actions as well, which clone learns from."),
        ("compact", bool, False, "Write half the bytes: observations as float16, one-hot actions as bits."),
        ("out", Path, Path("demos") / name, "Directory for the demonstrations; must be new or empty."),
        *([("env", None, env, "")] if env is not None else []),
    ]
    choices = ("--env", "--expert", "--use", "--accept-changed")
    example = "headstart record runs/four --episodes 100 --out demos/four"
    options = read_flags(options_of(fields), rest, "headstart record DIR", record.__doc__ or "", choices, example)
    from headstart.teams.demos import check_free
    from headstart.teams.recording import record as play
    from headstart.teams.scripted import Scripted

    check_free(options.out)
    team = Scripted.of(options.env) if team is None else team
    given = {"first_episode": options.first_episode, "sample": not options.greedy, "actions": options.actions}
    demos = play(team, options.env, options.episodes, options.seed, **given)
    demos.save(options.out, options.compact)
    size = sum(path.stat().st_size for path in options.out.iterdir())
    print(f"{options.out}: {demos.told()}, {f'{size / 1e6:.1f} MB' if size >= 1e5 else f'{size / 1e3:.1f} kB'}")


def _expert_env(name: str, args: list[str]) -> tuple[list[str], None, Any]:
    """As `_team_and_env` for an environment's own expert, which depends on the settings that follow."""
    from headstart import registry

    if "--env" in args:
        raise HeadstartError(f"--expert {name} names the environment: leave --env out")
    return args, None, registry.preset("env", name)


def render(args: list[str]) -> None:
    """Draw an episode of a trained team as a GIF or a video: headstart render DIR [--out FILE.gif|FILE.mp4]."""
    from rich.console import Console
    from rich.progress import Progress

    from headstart.replay.record import record
    from headstart.replay.write import animate, encoder
    from headstart.storage import places
    from headstart.teams.saved import load

    directory, rest = directory_of(args, "render")
    fields = [
        ("out", Path, places.beside(directory, "replay.gif"), "File to write: .gif, or .mp4 if there is an ffmpeg."),
        ("seed", int, 0, "Index of one of the team's seeds, from 0."),
        ("episode", int, 0, "Number of the start; the same number gives every team the same start."),
    ]
    choices, example = ("--use", "--accept-changed"), "headstart render runs/four --out four.gif --episode 3"
    options = read_flags(options_of(fields), rest, "headstart render DIR", render.__doc__ or "", choices, example)
    encoder(options.out)  # refuses a file that it cannot write, before the episode is played
    team = load(directory)
    if not 0 <= options.episode < 2**31:
        raise HeadstartError(f"episode must be a number from 0 on, not {options.episode}")
    if not 0 <= options.seed < len(team.seeds):
        raise HeadstartError(f"seed must be between 0 and {len(team.seeds) - 1}, not {options.seed}")
    env = _home(team, directory, "there is nothing to draw")
    replay = record(team, env, options.seed, options.episode, directory.resolve().name)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        animate(replay, options.out, watch=lambda frames: bar.track(frames, description="drawing"))
    print(f"wrote {options.out}")
