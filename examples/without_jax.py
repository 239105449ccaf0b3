"""A team that remembers plays in a process that has NumPy alone, and chooses what the trained team chooses.

The program that acts gets the two exported files and one line of observations a step; in it, imports of JAX and of headstart
fail. Its actions move the environment, so that the first wrong one would lead the episode elsewhere.

pip install 'headstart[pettingzoo]'
python -m examples.without_jax
"""

import json
import subprocess
import sys
from pathlib import Path

import headstart as hs

ENV = hs.Spread(agents=3)
LEARNER = hs.PPO(core="gru", obs_norm=True, num_envs=16, rollout=25)
ROBOTS = """
import json, sys
sys.modules["jax"] = sys.modules["headstart"] = None  # an import of either fails
from team import Team
team, memory = Team("team.npz"), {}
for line in sys.stdin:
    acted = {name: team.act(name, obs, *memory.get(name, ())) for name, obs in json.loads(line).items()}
    memory = {name: [after] for name, (_, after) in acted.items()}
    print(json.dumps({name: action for name, (action, _) in acted.items()}), flush=True)
"""


def play(team, directory: Path) -> dict[str, float]:
    """One episode by the files in `directory`; counts the actions that are those of `team`."""
    env, memory, found = hs.to_pettingzoo(ENV), None, {"actions": 0, "same": 0, "return": 0.0}
    obs, _ = env.reset(seed=0)
    command, pipe = [sys.executable, "-c", ROBOTS], subprocess.PIPE
    with subprocess.Popen(command, cwd=directory, stdin=pipe, stdout=pipe, text=True) as robots:
        assert robots.stdin and robots.stdout
        while env.agents:
            robots.stdin.write(json.dumps({name: x.tolist() for name, x in obs.items()}) + "\n")
            robots.stdin.flush()
            actions = json.loads(robots.stdout.readline())
            wanted, memory = team.act(obs, memory)
            found["actions"] += len(wanted)
            found["same"] += sum(actions[name] == wanted[name] for name in wanted)
            obs, reward, *_ = env.step(actions)
            found["return"] += sum(reward.values()) / len(reward)
        robots.stdin.close()
    return found


def main(out: str = "runs/without-jax", steps: int = 40_000, **settings):
    """Train and export a team, and let its files play; prints and returns what `play` found."""
    settings |= {"evaluations": 1, "worth": 0}
    team = hs.train(ENV, LEARNER, Path(out) / "trained", steps=steps, **settings)
    for path in hs.export(team, Path(out) / "robots"):
        print(f"wrote {path} ({path.stat().st_size} bytes)")
    found = play(team, Path(out) / "robots")
    print(f"{found['same']} of {found['actions']} actions are the trained team's; return {found['return']:.1f}")
    return found


if __name__ == "__main__":
    main()
