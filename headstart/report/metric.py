"""What an experiment is judged by: a column of metrics.csv, and what people call it."""

RETURN = "return"
RATES = {"win": "win rate", "success": "success rate"}
"""Events that happen at most once an episode, so that their mean over episodes is a rate."""


def column(metric: str) -> str:
    """The column of metrics.csv: of "return" the team's mean, of "return/ROLE" one role's, of others that event's."""
    return f"eval_{metric}" if metric.split("/")[0] == RETURN else f"eval_event/{metric}"


def name_in_report(metric: str) -> str:
    """`metric` as report.json has it: "episode_return", "episode_return/ROLE", or the event."""
    return f"episode_{metric}" if metric.split("/")[0] == RETURN else metric


def label(name: str) -> str:
    """What a report calls the `metric` of report.json, for axes and captions."""
    kind, _, role = name.partition("/")
    if kind == "episode_return":
        return f"episode return of {role}" if role else "episode return"
    return RATES.get(name, f"{name} per episode".replace("_", " "))
