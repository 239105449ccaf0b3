"""Do teams and teachers keep their worth in the other semantics of a particle world, once translated?

    python -m benchmarks.semantics [NAME ..] [--steps N] [--seeds N]     a row for each scenario that has semantics
    python -m benchmarks.semantics --teach                               KnowRU on `spread`: teachers of either semantics

Intervals are 95 % over the seeds. A scenario's reward is that of one semantics in both (`COMPARABLE`), so that returns can be
compared. The change need not be 0: openai's positions follow a push one step sooner. So a row is "within" if the interval in
the other semantics overlaps that at home, or else that of teams that were trained there.
"""

import argparse
import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.random as jr
import numpy as np

import headstart as hs
from headstart import registry
from headstart.core.episodes import evaluate
from headstart.report.stats import interval

COMPARABLE: dict[str, tuple[dict[str, Any], str, float]] = {
    "spread": ({"reward": "split"}, "", 1.0),
    "reference": ({"reward": "split"}, "", 1.0),
    "adversary": ({}, "agent", 1.0),
    "speaker-listener": ({}, "", 0.5),
}
"""{scenario: (settings, the role whose reward is the same in both (all if empty), openai's reward in units of mpe2's)}."""
LEARNER = hs.PPO(lr=3e-3)
EPISODES = 500


def scenarios() -> dict[str, Any]:
    """The particle worlds that have semantics, with rewards that do not depend on them."""
    found = {name: env for name, env in registry.presets("env").items() if hasattr(env, "semantics")}
    return {name: dataclasses.replace(env, **COMPARABLE.get(name, ({},))[0]) for name, env in found.items()}


def other(env: Any) -> Any:
    """The same world in the other semantics."""
    return dataclasses.replace(env, semantics={"openai": "mpe2", "mpe2": "openai"}[env.semantics])


def trained(env: Any, steps: int, seeds: int, guidance: Any = (), **settings: Any) -> tuple[hs.TeamPolicy, list[dict]]:
    """A team, and the rows of its metrics."""
    with tempfile.TemporaryDirectory() as place:
        out = Path(place, "run")
        given = {"evaluations": 1, "episodes": 10, "progress": False, "worth": 0} | settings
        team = hs.train(env, LEARNER, out, steps=steps, seeds=seeds, guidance=guidance, **given)
        names, *rows = (line.split(",") for line in (out / "metrics.csv").read_text().splitlines())
    return team, [dict(zip(names, row, strict=True)) for row in rows]


def returns(name: str, team: hs.TeamPolicy, env: Any, episodes: int = EPISODES) -> np.ndarray:
    """[S]: each seed's mean return in `env`, in mpe2's units."""
    _, only, unit = COMPARABLE.get(name, ({}, "", 1.0))
    learner = team.learner_in(env.spec)
    keys = jax.vmap(lambda seed: jr.fold_in(jr.key(2), seed))(np.asarray(team.seeds))
    found = jax.jit(jax.vmap(evaluate(env, learner, episodes)))(team.params, keys)["return"]
    each = np.concatenate([np.asarray(x) for role, x in found.items() if only in ("", role)], -1).mean((1, 2))
    return each * (unit if env.semantics == "openai" else 1.0)


def told(values: np.ndarray) -> str:
    """A mean and its interval."""
    found = interval(values, statistic=np.mean)
    return f"{found['iqm']:8.2f} [{found['low']:.2f}, {found['high']:.2f}]"


def across(name: str, env: Any, steps: int, seeds: int, episodes: int = EPISODES) -> dict[str, Any]:
    """A team's returns at home and in the other semantics, as it is translated and as it would be by place."""
    team, _ = trained(env, steps, seeds)
    fresh = jax.vmap(team.learner.init)(jr.split(jr.key(1), seeds))
    there = other(env)
    nameless = lambda role: role._replace(actions=role.actions._replace(options=()))
    blind = team.spec._replace(roles={role: nameless(about) for role, about in team.spec.roles.items()})
    found = {
        "untrained": returns(name, dataclasses.replace(team, params=fresh), env, episodes),
        "home": returns(name, team, env, episodes),
        "there": returns(name, team, there, episodes),
        "by place": returns(name, dataclasses.replace(team, spec=blind), there, episodes),
    }
    found["change"] = found["there"] - found["home"]
    found["within"] = "home" if overlap(found["there"], found["home"]) else ""
    if not found["within"]:
        found["native"] = returns(name, trained(there, steps, seeds)[0], there, episodes)
        found["within"] = "there" if overlap(found["there"], found["native"]) else ""
    return found


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether the intervals of two samples overlap."""
    one, other = (interval(x, statistic=np.mean) for x in (a, b))
    return bool(one["low"] <= other["high"] and other["low"] <= one["high"])


def teaching(steps: int, seeds: int) -> None:
    """Students of `spread` in mpe2's semantics, alone and with teachers of either semantics."""
    three, four = (hs.Spread(agents=n, reward="split") for n in (3, 4))
    arms: dict[str, Any] = {"alone": ()}
    for kind in ("mpe2", "openai"):
        teacher, _ = trained(dataclasses.replace(three, semantics=kind), 2 * steps, seeds)
        print(f"the teacher of {kind} in the students' semantics: {told(hs.score(teacher, three, EPISODES))}")
        arms[f"taught by a team of {kind}"] = hs.Distill(teacher)
    print("students | mean return along training | final return")
    for arm, guidance in arms.items():
        _, rows = trained(four, steps, seeds, guidance, evaluations=8, episodes=100)
        curves = np.array([[float(r["eval_return"]) for r in rows if r["seed"] == str(seed)] for seed in range(seeds)])
        print(f"{arm:26} | {told(curves[:, 1:].mean(1))} | {told(curves[:, -1])}", flush=True)


def main() -> None:
    """Print the table that was asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.semantics", description="Returns across semantics.")
    parser.add_argument("names", nargs="*", help="scenarios (all of them by default)")
    parser.add_argument("--steps", type=int, default=80_000)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--teach", action="store_true", help="students with teachers of either semantics instead")
    asked = parser.parse_args()
    if asked.teach:
        teaching(asked.steps, asked.seeds)
        return
    print("scenario | untrained | at home | in the other semantics | change | .. by place, untranslated | within?")
    for name, env in scenarios().items():
        if asked.names and name not in asked.names:
            continue
        found = across(name, env, asked.steps, asked.seeds)
        cells = [told(found[what]) for what in ("untrained", "home", "there", "change", "by place")]
        within = {"home": "yes", "there": "that of teams trained there", "": "NO"}[found["within"]]
        native = f" ({told(found['native'])})" if "native" in found else ""
        print(" | ".join([f"{name:25}", *cells, within + native]), flush=True)


if __name__ == "__main__":
    main()
