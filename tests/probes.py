"""Tiny environments with known answers, and a small way to train on them.

Actions are vectors that may be soft (a Gumbel-softmax actor sends such), so every reward here is linear in each agent's
action: then the best action is the best soft one too.
"""

import copy
import dataclasses
import functools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np

from headstart import registry
from headstart.core.checks import HeadstartError
from headstart.core.episodes import evaluate
from headstart.core.guidance import chain
from headstart.core.own import installed
from headstart.core.part import part
from headstart.core.trainer import make_trainer
from headstart.core.types import Continuous, Discrete, Field, RoleSpec, TeamSpec, TimeStep
from headstart.learners.imitator import Imitator
from headstart.teams.demos import Demos
from headstart.training import programs

# ------------------------------------------------------------------ environments


def environments() -> dict[str, Any]:
    """The presets of environments that can be opened here: all but that of StarCraft II, which no package can install, and
    those of MuJoCo without its package."""
    absent = {"smac"} | (set() if installed("mujoco") else {"mujoco"})
    return {name: env for name, env in registry.presets("env").items() if name not in absent}


def shown(obs, reward=None, terminated=False, truncated=False, alive=None, available=None) -> TimeStep:
    """A TimeStep of {role: [A O]} observations; rewards default to zeros and everybody to alive."""
    reward = {role: jnp.zeros(x.shape[0]) for role, x in obs.items()} if reward is None else reward
    alive = {role: jnp.ones(x.shape[0], bool) for role, x in obs.items()} if alive is None else alive
    state = jnp.concatenate([x.reshape(-1) for x in obs.values()])
    ends = jnp.asarray(terminated, bool), jnp.asarray(truncated, bool)
    return TimeStep(obs, obs, state, state, reward, *ends, alive, available, available)


def one_role(agents: int, size: int, actions, horizon: int, state: int | None = None) -> TeamSpec:
    role = RoleSpec(agents, (Field("numbers", 1, size),), actions)
    return TeamSpec({"agent": role}, horizon, agents * size if state is None else state)


@dataclass(frozen=True)
class Values:
    """What a state is worth. Four starts, each drawn one time in four, seen as a one-hot vector:

    always 1 (value 1); a reward of the observed sign, + or − (values 1 and −1); nothing now and 1 at the next step (value γ,
    then 1). Actions change nothing.
    """

    CASES = ("constant", "plus", "minus", "first", "second")
    PAYS = (1.0, 1.0, -1.0, 0.0, 1.0)

    @property
    def spec(self):
        return one_role(1, 5, Discrete((2,)), 2)

    def reset(self, key):
        case = jr.randint(key, (), 0, 4)
        return case, shown({"agent": jax.nn.one_hot(case, 5)[None]})

    def step(self, state, action, key):
        after = jnp.where(state == 3, 4, state)
        reward = jnp.asarray(self.PAYS)[state][None]
        return after, shown({"agent": jax.nn.one_hot(after, 5)[None]}, {"agent": reward}, terminated=state != 3)

    @staticmethod
    def answers(gamma: float) -> np.ndarray:
        return np.array([1, 1, -1, gamma, 1])


@dataclass(frozen=True)
class Choice:
    """What to do: the observed sign names the better of two actions; one step, return 1 or −1."""

    best = 1.0

    @property
    def spec(self):
        return one_role(1, 1, Discrete((2,)), 1)

    def reset(self, key):
        sign = jnp.where(jr.bernoulli(key), 1.0, -1.0)
        return sign, shown({"agent": sign[None, None]})

    def step(self, state, action, key):
        a = action["agent"][0]
        reward = state * (a[0] - a[1])
        return state, shown({"agent": state[None, None]}, {"agent": reward[None]}, terminated=True)


@dataclass(frozen=True)
class Coordination:
    """What to do together: a matrix game of two agents and three actions with one best joint action, (2, 2).

    It is the only equilibrium: learners that do not see their mates find it as well.
    """

    best = 1.0

    @property
    def spec(self):
        return one_role(2, 1, Discrete((3,)), 1)

    def reset(self, key):
        return jnp.zeros(()), shown({"agent": jnp.ones((2, 1))})

    def step(self, state, action, key):
        payoff = jnp.array([[0.3, 0.0, 0.4], [0.0, 0.1, 0.5], [0.4, 0.5, 1.0]])
        row, column = action["agent"]
        reward = jnp.full(2, row @ payoff @ column)
        return state, shown({"agent": jnp.ones((2, 1))}, {"agent": reward}, terminated=True)


@dataclass(frozen=True)
class Recall:
    """What was seen: the sign that an agent is shown at the first of three steps names its action that pays at the third."""

    agents: int = 1
    best = 1.0

    @property
    def spec(self):
        return one_role(self.agents, 2, Discrete((2,)), 3)

    def reset(self, key):
        cue = jnp.where(jr.bernoulli(key, shape=(self.agents,)), 1.0, -1.0)
        return (cue, jnp.zeros((), jnp.int32)), shown({"agent": jnp.stack([cue, jnp.zeros(self.agents)], -1)})

    def step(self, state, action, key):
        cue, time = state
        a, last = action["agent"], time == 2
        reward = jnp.where(last, cue * (a[:, 0] - a[:, 1]), 0.0)
        obs = jnp.broadcast_to(jnp.stack([0.0, (time + 1) / 2]), (self.agents, 2))
        return (cue, time + 1), shown({"agent": obs}, {"agent": reward}, terminated=last)


@dataclass(frozen=True)
class Mixed:
    """Two roles that share nothing: two talkers with two discrete heads, and a mover with two continuous numbers.

    A talker's first head should say 1 and its second the option it observes; the mover should do what it observes.
    """

    @property
    def spec(self):
        talker = RoleSpec(2, (Field("word", 1, 3),), Discrete((2, 3)))
        mover = RoleSpec(1, (Field("target", 1, 2), Field("padding", 1, 2)), Continuous(2))
        return TeamSpec({"talker": talker, "mover": mover}, 1, 10)

    def reset(self, key):
        a, b = jr.split(key)
        words = jax.nn.one_hot(jr.randint(a, (2,), 0, 3), 3)
        target = jr.uniform(b, (1, 2), minval=-0.7, maxval=0.7)
        return (words, target), self._show((words, target))

    def _show(self, state, **rest):
        return shown({"talker": state[0], "mover": jnp.concatenate([state[1], jnp.ones((1, 2))], -1)}, **rest)

    def step(self, state, action, key):
        talk = action["talker"]
        said = 0.5 * talk[:, 1] + 0.5 * (talk[:, 2:] * state[0]).sum(-1)
        missed = -jnp.square(action["mover"] - state[1]).sum(-1)
        return state, self._show(state, reward={"talker": said, "mover": missed}, terminated=jnp.asarray(True))


@part("env")
class Dead:
    """`Choice` for a living agent; its mate is dead from the start and shows and earns `garbage`."""

    garbage: float = 0.0

    @property
    def spec(self):
        return one_role(2, 1, Discrete((2,)), 1, state=0)  # mixers read observations: what is in a state, its environment says

    def _show(self, sign, reward, terminated):
        obs, alive = {"agent": jnp.stack([sign, self.garbage * sign])[:, None]}, {"agent": jnp.array([True, False])}
        return shown(obs, {"agent": reward}, terminated, alive=alive)

    def reset(self, key):
        sign = jnp.where(jr.bernoulli(key), 1.0, -1.0)
        return sign, self._show(sign, jnp.zeros(2), False)

    def step(self, state, action, key):
        a = action["agent"][0]
        reward = jnp.stack([state * (a[0] - a[1]), self.garbage * state])
        return state, self._show(state, reward, True)


@dataclass(frozen=True)
class Masked:
    """Two or three of four actions are legal; an illegal one earns NaN, which spreads to every number computed from it."""

    @property
    def spec(self):
        return one_role(2, 4, Discrete((4,)), 3)

    def _draw(self, key):
        return ~jax.nn.one_hot(jr.randint(key, (2, 2), 0, 4), 4, dtype=bool).any(1)

    def _show(self, legal, **rest):
        return shown({"agent": legal.astype(jnp.float32)}, available={"agent": legal}, **rest)

    def reset(self, key):
        legal = self._draw(key)
        return (legal, jnp.zeros((), jnp.int32)), self._show(legal)

    def step(self, state, action, key):
        legal, time = state
        a = action["agent"]
        # The later options pay more, so that a policy would rather take illegal ones.
        reward = jnp.where((a * ~legal).any(-1), jnp.nan, a @ jnp.arange(4.0))
        fresh = self._draw(key)
        return (fresh, time + 1), self._show(fresh, reward={"agent": reward}, truncated=time == 2)


@part("env")
class Lengths:
    """Episodes of random lengths, 1 to 5 steps, that count: an observation is (episode's tag, time), a reward is time + 1.

    Odd lengths terminate and even ones are truncated. The tag is drawn at the reset.
    """

    @property
    def spec(self):
        return one_role(2, 2, Discrete((2,)), 5)

    def _show(self, state, **rest):
        tag, _, time = state
        row = jnp.stack([tag, time.astype(jnp.float32)])
        return shown({"agent": jnp.stack([row, -row])}, **rest)

    def reset(self, key):
        a, b = jr.split(key)
        state = (jr.uniform(a), jr.randint(b, (), 1, 6), jnp.zeros((), jnp.int32))
        return state, self._show(state)

    def step(self, state, action, key):
        tag, length, time = state
        state, over = (tag, length, time + 1), time + 1 == length
        reward = (time + 1.0) * jnp.array([1.0, 10.0])
        odd = length % 2 == 1
        return state, self._show(state, reward={"agent": reward}, terminated=over & odd, truncated=over & ~odd)


# ------------------------------------------------------------------ training


SMALL = {
    "hidden": (16,), "num_envs": 8, "rollout": 8, "train_every": 8, "batch": 64, "capacity": 2048, "warmup": 64,
    "minibatches": 2, "epochs": 2, "gamma": 0.9, "tau": 0.05, "lr": 1e-2, "actor_lr": 1e-2, "critic_lr": 1e-2,
    "anneal": False, "entropy": 1e-3, "embedding": 16,
}  # fmt: skip
"""What is made small of a learner, where it has a setting of that name."""


def small(config: Any, **settings: Any) -> Any:
    """The learner's settings for a tiny problem; `settings` that it does not have are left out.

    A recurrent learner that replays has sequences of `rollout` steps, and few of them in a batch.
    """
    names, recurrent = {f.name for f in dataclasses.fields(config)}, getattr(config, "core", "mlp") == "gru"
    chosen = SMALL | ({"batch": 8, "gradient_steps": 2} if recurrent else {}) | settings
    if recurrent:
        chosen["train_every"] = chosen["num_envs"] * chosen["rollout"]
    return dataclasses.replace(config, **{k: v for k, v in chosen.items() if k in names})


def learners() -> dict[str, Any]:
    """Every learner that the registry finds, once for each of its settings; not those that learn only what guidance asks."""
    found: dict[str, Any] = {}
    for name, config in registry.presets("learner").items():
        if config not in found.values() and not isinstance(config, Imitator):
            found[name] = config
    return found


def takes(config: Any, spec: TeamSpec) -> bool:
    """Whether a learner can train this team; the one reason not to is continuous actions."""
    try:
        config.make(spec)
    except HeadstartError as error:
        assert "needs discrete actions" in str(error)
        return False
    return True


@dataclass(frozen=True)
class Loop:
    """The trainer's functions compiled for seeds side by side. Every number of seeds compiles anew."""

    trainer: Any
    learner: Any
    init: Any
    update: Any
    begin: Any
    advance: Any

    def start(self, seeds=(0,)):
        return self.init(jnp.asarray(seeds))

    def run(self, seeds=(0,), first: int = 0, last: int | None = None, state=None):
        """(state, [metrics of every update])."""
        state, metrics = self.start(seeds) if state is None else state, []
        for index in range(first, self.trainer.updates if last is None else last):
            state, now = self.update(state, jnp.asarray(index))
            metrics.append(now)
        return state, metrics

    def train(self, seeds=(0,), first: int = 0, last: int | None = None, begun=None):
        """{"state", "sums" of metrics, ..}: as `run`, by the one program that a run on disk uses."""
        begun = self.begin(jnp.asarray(seeds)) if begun is None else begun
        return self.advance(begun, first, self.trainer.updates if last is None else last, self.trainer.data)


@functools.cache
def loop(env: Any, config: Any, updates: int, guides: tuple = ()) -> Loop:
    """A `Loop` of `updates` updates, compiled once for equal arguments."""
    learner = config.make(env.spec)
    guidance = chain(*(guide.make(env.spec, learner) for guide in guides))
    trainer = make_trainer(env, learner, guidance, updates * learner.rollout * learner.num_envs)
    of_seed = lambda begin: jax.jit(jax.vmap(lambda seed: begin(jr.fold_in(jr.key(0), seed), seed)))
    update = jax.jit(jax.vmap(trainer.update, in_axes=(0, None)))
    begin = of_seed(functools.partial(programs.begin, trainer))
    return Loop(trainer, learner, of_seed(trainer.init), update, begin, jax.jit(programs.advance(trainer)))


def whole(env: Any, config: Any, updates: int, guides: tuple = (), seeds=(0, 1)) -> tuple[Any, Any, Any]:
    """(state, metrics [updates S ..], the state before) of training. Not compiled: a test that compiles it may trace
    settings, so that one program serves all their values."""
    learner = config.make(env.spec)
    guidance = chain(*(guide.make(env.spec, learner) for guide in guides))
    trainer = make_trainer(env, learner, guidance, updates * learner.rollout * learner.num_envs)
    start = jax.vmap(lambda seed: trainer.init(jr.fold_in(jr.key(0), seed), seed))(jnp.asarray(seeds))
    update = jax.vmap(trainer.update, in_axes=(0, None))
    return *jax.lax.scan(update, start, jnp.arange(trainer.updates)), start


def traced(part: Any, **settings: Any) -> Any:
    """A copy of a part with settings that are traced, whose values its checks cannot see."""
    part = copy.copy(part)
    for name, value in settings.items():
        object.__setattr__(part, name, value)
    return part


def random_demos(env: Any, episodes: int = 40, seed: int = 0) -> Demos:
    """Demonstrations of random numbers and random lengths, the first one as long as an episode can be."""
    spec, rng = env.spec, np.random.default_rng(seed)
    lengths = np.concatenate([[spec.horizon], rng.integers(1, spec.horizon + 1, episodes - 1)]).astype(np.int32)
    running = np.arange(spec.horizon) < lengths[:, None]
    normal = lambda *shape: rng.normal(size=shape).astype(np.float32)
    obs = {name: normal(episodes, spec.horizon, x.agents, x.obs_size) for name, x in spec.roles.items()}
    alive = {name: np.broadcast_to(running[..., None], (*running.shape, x.agents)).copy() for name, x in spec.roles.items()}
    returns = {name: np.zeros((episodes, x.agents), np.float32) for name, x in spec.roles.items()}
    return Demos(spec, env, obs, alive, lengths, returns, {})


def with_actions(demos: Demos) -> Demos:
    """The same with random actions, soft ones of discrete heads and continuous ones beyond their range."""
    rng = np.random.default_rng(1)
    of = lambda name, x: rng.normal(size=(*x.shape[:3], demos.spec.roles[name].actions.size)).astype(np.float32)
    return dataclasses.replace(demos, actions={name: of(name, x) for name, x in demos.obs.items()})


def fresh(config: Any, spec: TeamSpec, seeds: int, number: int = 5) -> Any:
    """Untrained parameters [S ..], in one compiled program instead of an operation at a time."""
    return jax.jit(jax.vmap(config.make(spec).init))(jr.split(jr.key(number), seeds))


def drawn(config: Any, spec: TeamSpec, seeds: int, number: int = 3) -> Any:
    """Random parameters [S ..] by NumPy, where it does not matter how a learner begins: nothing is compiled for them."""
    shapes = jax.eval_shape(jax.vmap(config.make(spec).init), jr.split(jr.key(0), seeds))
    rng = np.random.default_rng(number)
    draw = lambda x: jnp.asarray(rng.normal(size=x.shape) / np.sqrt(x.shape[-1] if x.ndim > 2 else 1), x.dtype)
    return jax.tree.map(draw, shapes)


def played(env: Any, learner: Any, params: Any, episodes: int = 64) -> dict[str, np.ndarray]:
    """{role: [S A]} mean greedy returns of every seed in `params`."""
    seeds = jax.tree.leaves(params)[0].shape[0]
    run = jax.jit(jax.vmap(evaluate(env, learner, episodes)))
    out = run(params, jr.split(jr.key(9), seeds))["return"]
    return {role: np.asarray(x).mean(1) for role, x in out.items()}


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal bit for bit (random keys by their numbers)."""
    plain = lambda x: np.asarray(jr.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else x)
    xs, ys = jax.tree.leaves(a), jax.tree.leaves(b)
    assert len(xs) == len(ys) > 0
    return all(plain(x).tobytes() == plain(y).tobytes() and x.shape == y.shape for x, y in zip(xs, ys, strict=True))
