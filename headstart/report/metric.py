"""The metric of an experiment: its column of metrics.csv, and its label for readers."""

RETURN = "return"
RATES = {"win": "win rate", "success": "success rate"}
"""Events that happen at most once an episode, so that their mean over episodes is a rate."""


def column(metric: str) -> str:
    """The column of metrics.csv: the team's mean for "return", one role's for "return/ROLE", else that of the event."""
    return f"eval_{metric}" if metric.split("/")[0] == RETURN else f"eval_event/{metric}"


def name_in_report(metric: str) -> str:
    """The name of `metric` in report.json: "episode_return", "episode_return/ROLE", or the event."""
    return f"episode_{metric}" if metric.split("/")[0] == RETURN else metric


def label(name: str) -> str:
    """The label of report.json's `metric`, for axes and captions."""
    kind, _, role = name.partition("/")
    if kind == "episode_return":
        return f"episode return of {role}" if role else "episode return"
    return RATES.get(name, f"{name} per episode".replace("_", " "))
