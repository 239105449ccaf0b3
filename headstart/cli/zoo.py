"""headstart zoo."""

import dataclasses

from headstart.cli.flags import read_flags


def zoo(args: list[str]) -> None:
    """List the small trained teams that come with headstart, or tell how one was made: headstart zoo [NAME]."""
    given = [arg for arg in args if not arg.startswith("-")][:1]
    rest = args[1:] if given and args[0] == given[0] else args
    read_flags(dataclasses.make_dataclass("Options", []), rest, "headstart zoo", zoo.__doc__ or "")
    from headstart.teams import zoo as teams

    if not given:
        print(teams.zoo())
        return
    entry = teams.zoo()[given[0].removeprefix("zoo:")]
    for heading, cell in zip(teams.HEADINGS, teams.row(entry), strict=True):
        print(f"{heading:<12} {cell}")
    print(f"{'measured in':<12} {entry.episodes:,} episodes of seed {entry.seed}, by headstart {entry.version}")
    print("made by")
    for command in entry.commands:
        print(f"  {command}")
