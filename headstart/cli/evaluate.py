"""headstart evaluate, headstart render."""

from pathlib import Path

from headstart.cli.flags import directory_of, options_of, read_flags, take
from headstart.core.checks import HeadstartError, check_known


def evaluate(args: list[str]) -> None:
    """Score a trained team on fresh episodes with greedy actions: headstart evaluate DIR [--env ENV] [--adapt] [--sample]."""
    from headstart import registry
    from headstart.core.ranges import Count
    from headstart.storage import files
    from headstart.teams.saved import load
    from headstart.training.progress import spread
    from headstart.training.run import score
    from headstart.views.adapt import describe_adaptation

    given, rest = take(args, ("--env",))
    directory, rest = directory_of(rest, "evaluate")
    team = load(directory) if "--help" not in rest else None
    env = registry.preset("env", given["--env"][-1] if given["--env"] else "spread")
    if team and not given["--env"]:
        env = team.env
    if env is None:
        trained_in = files.read_json(directory / "policy.json").get("env")
        if trained_in:
            registry.decode("env", trained_in)  # says which module is missing
        raise HeadstartError(f"{directory} does not say where its team was trained: pass --env ENV")
    fields = [
        ("episodes", Count, 1000, "Episodes of each seed."),
        ("adapt", bool, False, "Fit the team to an environment of another size: pair agents, adapt observations by field."),
        ("sample", bool, False, "Also score the actions of the exploring learner, as at the end of training."),
        ("env", None, env, ""),
    ]
    choices, example = (
        ("--env", "--use", "--accept-changed"),
        "headstart evaluate runs/four --env.agents 6 --adapt",
    )
    options = read_flags(options_of(fields), rest, "headstart evaluate DIR", evaluate.__doc__ or "", choices, example)
    assert team is not None  # --help has ended the command
    if options.episodes < 1:
        raise HeadstartError(f"episodes must be at least 1, not {options.episodes}")
    if options.adapt and options.sample:
        raise HeadstartError("a team that was fitted to other agents has greedy actions only: leave --sample out")
    if options.adapt:
        there = options.env.spec
        for role in there.roles:
            check_known("role of this team", role, team.spec.roles)
            notes = describe_adaptation(role, there.roles[role].obs, (team.trained or team.spec).roles[role].obs)
            agents = f"{there.roles[role].agents} agents by {team.spec.roles[role].agents} policies"
            print(f"adapted {role}: {', '.join([agents, *notes])}")
        team = team.adapt(there)
    for kind in ("greedy", "sampled")[: 1 + options.sample]:
        returns, word = score(team, options.env, options.episodes, kind == "sampled"), "" if kind == "greedy" else "sampled "
        for seed, value in zip(team.seeds, returns, strict=True):
            print(f"seed {seed}: {word}return {value:.2f}")
        seeds = f"{len(returns)} seed{'s' * (len(returns) != 1)}"
        print(f"{word}return {spread(returns)} over {seeds}, {options.episodes} {kind} episodes each")


def render(args: list[str]) -> None:
    """Draw an episode of a trained team as a GIF or a video: headstart render DIR [--out FILE.gif|FILE.mp4]."""
    from rich.console import Console
    from rich.progress import Progress

    from headstart.replay.record import record
    from headstart.replay.write import animate, encoder
    from headstart.teams.saved import load

    directory, rest = directory_of(args, "render")
    fields = [
        ("out", Path, directory / "replay.gif", "File to write: .gif, or .mp4 if there is an ffmpeg."),
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
    if team.env is None:
        raise HeadstartError(f"{directory} does not say where its team was trained, so there is nothing to draw")
    replay = record(team, team.env, options.seed, options.episode, directory.resolve().name)
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        animate(replay, options.out, watch=lambda frames: bar.track(frames, description="drawing"))
    print(f"wrote {options.out}")
