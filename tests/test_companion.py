"""Companions: the equations by plain loops, one set of shared parameters, and nothing where nothing is asked for."""

import dataclasses
import json
import shlex

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
import pytest
from probes import loop, same, small, traced, whole
from test_runs import identical, stopper

from headstart import registry
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.learner import Learner, make_learner
from headstart.core.memory import latest
from headstart.core.modules import linear
from headstart.core.networks import RoleNet
from headstart.core.optimisers import per_team
from headstart.core.part import part
from headstart.envs.battle.smax import SMAX
from headstart.envs.particle.spread import Spread
from headstart.envs.particle.tag import Tag
from headstart.guidance.backbone import in_common
from headstart.guidance.companion import Companion
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.training import run, session
from headstart.training.config import prices

pytestmark = pytest.mark.usefixtures("sessions_once")
STUDENT, EASIER = Spread(2, horizon=4), Spread(2, horizon=3)
TINY = small(PPO(), num_envs=2, rollout=4, epochs=1, minibatches=2, hidden=(8, 8))

# ------------------------------------------------------------------ the equations, on a loss that can be differentiated by hand


@part("learner")
class Quadratic:
    """A layer of the backbone w and a head h that each want to be at a goal: the loss is ½·curve·(x − goal)², summed."""

    goal: float = 0.0
    curve: float = 1.0
    lr: float = 0.1
    gradient_steps: int = 2

    def make(self, spec) -> Learner:
        new = lambda key: RoleNet({"backbone": linear(key, 2, 2), "head": linear(key, 2, 2, last=True)}, True)

        def objective(params, target, batch, key):
            leaves = jax.tree.leaves(params["actor"]["agent"])
            loss = sum(0.5 * self.curve * jnp.square(x - self.goal).sum() for x in leaves)
            return {"actor": {"agent": loss[None] + 0 * batch.reward["agent"].sum()}}, {}

        return Learner(
            num_envs=1, rollout=1, warmup=0, memory=latest(1, self.gradient_steps, 1),
            optimizer=per_team({"actor": optax.sgd(self.lr)}),
            init=lambda key: {"actor": {"agent": new(key)}},
            start=lambda num_envs: (),
            policy=lambda params, carry, obs: (carry, {"agent": jnp.zeros((*obs["agent"].shape[:-1], 5))}),
            unroll=lambda params, items: ((), {}),
            act=lambda params, carry, step, key, progress: (carry, {"agent": jnp.zeros((1, 2, 5))}),
            prepare=lambda params, carry, rollout: (params, jax.tree.map(lambda x: x[0], rollout)),
            objective=objective, share={"agent": 1.0},
        )  # fmt: skip


ONE, OTHER = Quadratic(goal=1.0, gradient_steps=2), Quadratic(goal=-2.0, curve=0.5, lr=0.2, gradient_steps=3)
BETA, WEIGHT, UPDATES = 0.75, 0.5, 3


def parts_of(params):
    """(backbone, head) as one vector each, in double precision."""
    net = params["actor"]["agent"].net
    flat = lambda layer: np.concatenate([np.asarray(x, float).reshape(-1) for x in (layer.weight, layer.bias)])
    return flat(net["backbone"]), flat(net["head"])


def by_plain_loops(coupling, form, every, start, starts, turns):
    """[(backbone, head) of the student, then of each companion] after every update."""
    slope = lambda learner, x: learner.curve * (x - learner.goal)
    student, companions, common, out = list(start), [list(x) for x in starts], np.zeros_like(start[0]), []
    for companion in companions if coupling != "tie" else ():
        companion[0] = student[0]
    for update in range(UPDATES):
        lasts = []
        for companion in companions if update % every == 0 else ():
            if coupling == "tie":
                companion[0] = student[0]
            for _ in range(turns * OTHER.gradient_steps):
                s = slope(OTHER, companion[0])
                last = BETA * common + (1 - BETA) * s if coupling == "momentum" else s
                companion[0] = companion[0] - OTHER.lr * (common if form == "literal" else last)
                companion[1] = companion[1] - OTHER.lr * slope(OTHER, companion[1])
            lasts.append(last)
            if coupling == "tie":
                student[0] = companion[0]
        if lasts and coupling == "momentum" and form == "intended":
            common = np.mean(lasts, 0)
        if lasts and coupling == "sum":
            common = np.sum(lasts, 0)
        for _ in range(ONE.gradient_steps):
            grad = slope(ONE, student[0])
            if coupling == "momentum":
                grad = common = BETA * common + (1 - BETA) * grad
            if coupling == "sum":
                grad = grad + WEIGHT * common
            student = [student[0] - ONE.lr * grad, student[1] - ONE.lr * slope(ONE, student[1])]
        out.append([tuple(student), *((companion[0], companion[1]) for companion in companions)])
    return out


WAYS = [("tie", "intended", 2), ("sum", "intended", 2), ("momentum", "intended", 1), ("momentum", "literal", 1)]


@pytest.mark.parametrize("coupling,form,every", WAYS)
def test_the_student_and_its_companions_move_as_plain_loops_say(coupling, form, every):
    """Heads alone, and shared parameters as the equations say; tied ones are the student's, and there are no others."""
    guide = Companion(EASIER, OTHER, (), coupling, form, BETA, WEIGHT, count=2, updates=2, every=every)
    made = loop(STUDENT, ONE, UPDATES, (guide,))
    begun = made.start()
    if tied := coupling == "tie":
        kept = begun.guidance["states"].params["actor"]["agent"].net["backbone"]
        assert kept.weight is None and kept.bias is None

    def found(state):
        """Those of the student, then those of each companion."""
        own = jax.tree.map(lambda x: x[0], state.params)
        each = [jax.tree.map(lambda x, i=i: x[0, i], state.guidance["states"].params) for i in range(2)]
        return [parts_of(own), *(parts_of(eqx.combine(params, own)) for params in each)]

    student, *others = found(begun)
    state = begun
    for index, want in enumerate(by_plain_loops(coupling, form, every, student, others, 2)):
        state, _ = made.update(state, jnp.asarray(index))
        for (backbone, head), (wanted, wanted_head) in zip(found(state), want, strict=True):
            np.testing.assert_allclose(backbone, want[0][0] if tied else wanted, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(head, wanted_head, rtol=1e-4, atol=1e-5)


# ------------------------------------------------------------------ with real learners


def learned(state):
    return state.params, state.target, state.opt, state.env, state.step, state.key


@pytest.mark.parametrize("setting", ["beta", "weight"])
def test_a_factor_of_0_leaves_the_student_alone_bitwise(setting, as_users):
    coupling = {"beta": "momentum", "weight": "sum"}[setting]
    guide = Companion(EASIER, TINY, coupling=coupling)

    @jax.jit
    def trained(factor):
        state, metrics, _ = whole(STUDENT, TINY, 3, (traced(guide, **{setting: factor}),), (0,))
        return learned(state), metrics["guidance"]

    plain = jax.jit(lambda: learned(whole(STUDENT, TINY, 3, (), (0,))[0]))()
    (silent, _), (guided, told) = trained(0.0), trained(0.5)
    assert same(plain, silent) and not same(silent[0], guided[0])
    returns = np.asarray(told["companion_return"])
    assert np.isfinite(returns).all() and (returns < 0).all() and len(np.unique(returns)) == 3


def shared_by(student, easier, learner, other=None, stem=True):
    """The paths of coupled parameters, without a program."""
    made = ((learner, student), (other or learner, easier))
    nets = [jax.eval_shape(config.make(env.spec).init, jr.key(0)) for config, env in made]
    return set(in_common(*nets, [(role, role) for role in student.spec.roles if role in easier.spec.roles], stem))


def test_what_is_shared_is_the_backbone_and_a_stem_of_the_same_fields():
    deep = dataclasses.replace(TINY, hidden=(8, 8, 8))
    path = lambda network, layer: {f"['{network}']['agent'].net.body.layers[{layer}].{x}" for x in ("weight", "bias")}
    layers = lambda *numbers: set().union(*(path(network, i) for network in ("actor", "critic") for i in numbers))
    assert shared_by(STUDENT, EASIER, deep) == layers(0, 1, 2)
    assert shared_by(STUDENT, EASIER, deep, stem=False) == layers(1, 2)
    assert shared_by(Spread(3), EASIER, deep) == layers(1, 2)
    wider = dataclasses.replace(deep, hidden=(8, 9, 8))
    with pytest.raises(HeadstartError, match="no layer between"):
        shared_by(Spread(3), EASIER, deep, wider)  # biases alone would fit in the last
    separate = dataclasses.replace(deep, shared=False)
    assert shared_by(STUDENT, EASIER, separate) == layers(0, 1, 2)
    with pytest.raises(HeadstartError, match=r"--learner\.shared"):
        shared_by(Spread(3), EASIER, separate)
    ddpg = small(DDPG(shared=True), hidden=(8, 8))
    assert all("layers[1]" in name for name in shared_by(Tag(3), Tag(2), ddpg))
    assert {name.split("'")[1] for name in shared_by(Tag(3), Tag(2), ddpg)} == {"actor", "critic"}
    normed = dataclasses.replace(deep, obs_norm=True, value_norm="running", layer_norm=True)
    assert {name.split("'")[1] for name in shared_by(STUDENT, EASIER, normed)} == {"actor", "critic"}
    gru = dataclasses.replace(TINY, core="gru", hidden=(8,), minibatches=1)
    assert all("memory" in name for name in shared_by(SMAX("5m_vs_6m"), SMAX("3m"), gru))
    assert len(shared_by(SMAX("5m_vs_6m"), SMAX("3m"), gru)) == 2 * 4


@pytest.mark.slow
@pytest.mark.parametrize("coupling", ["tie", "momentum"])
@pytest.mark.parametrize("game", ["tag", "battle"])
def test_an_easier_game_is_a_companion_of_a_harder_one(game, coupling):
    """Two companions of other teams' sizes: everything stays finite, and what they do reaches the student."""
    gru = dataclasses.replace(TINY, core="gru", hidden=(8,), minibatches=1)
    student, easier, learner = {"tag": (Tag(3), Tag(2), TINY), "battle": (SMAX("5m_vs_6m"), SMAX("3m"), gru)}[game]
    made = loop(student, learner, 2, (Companion(easier, learner, coupling=coupling, count=2),))
    state, metrics = made.run((0,))
    numbers = [x for x in jax.tree.leaves((state.params, state.guidance["common"], metrics)) if x.dtype == jnp.float32]
    assert all(np.isfinite(x).all() for x in numbers)
    before = made.start((0,)).guidance
    assert all(np.any(x != before["common"][name]) for name, x in state.guidance["common"].items())
    heads = state.guidance["states"].params["actor"]
    lanes = [x for x in jax.tree.leaves(heads) if x.ndim > 3]
    assert lanes and all(not same(x[0, 0], x[0, 1]) for x in lanes)  # each has random numbers of its own


WORDS = shlex.split(
    "--learner ippo --learner.num-envs 2 --learner.rollout 4 --learner.hidden 8 8 --learner.minibatches 2 --learner.epochs 1 "
    "--steps 48 --evaluations 3 --episodes 3 --env.agents 2 --env.horizon 4 --guidance companion:spread "
    "--guidance.env.agents 2 --guidance.env.horizon 3 --guidance.every 2 --guidance.updates 2 --guidance.coupling momentum"
)


@pytest.mark.slow
def test_a_killed_run_resumes_bitwise_and_its_companions_are_charged(tmp_path, monkeypatch):
    """From the command line, without a learner of the companion's own: it has the student's settings."""
    monkeypatch.setattr(session, "CHECKPOINT_SECONDS", 0.0)
    monkeypatch.setattr(session, "PIECE_SECONDS", 1e-9)
    cli.main(["train", "spread", *WORDS, "--out", str(tmp_path / "whole")])
    about = json.loads((tmp_path / "whole/run.json").read_text())
    guide = Companion(EASIER, None, coupling="momentum", updates=2, every=2)
    assert registry.decode("guidance", about["config"]["guidance"][0]) == guide
    learner = registry.decode("learner", about["config"]["learner"])
    config = run.Config(STUDENT, learner, (guide,), 48, 1, evaluations=3, episodes=3)
    with pytest.raises(session.Interrupted):
        run.train(config, tmp_path / "cut", stopper(4))
    run.resume(tmp_path / "cut")
    identical(tmp_path / "cut", tmp_path / "whole")
    # 6 updates of 8 env-steps; turns before the updates 0, 2 and 4, each of two updates.
    assert about["teachers"] == [
        {"name": "companion", "env": "spread", "env_steps": 48, "run_s": None, "compile_s": None, "alongside": True}
    ]
    assert json.loads((tmp_path / "whole/policy.json").read_text())["env_steps"] == 96
    header, *rows = (tmp_path / "whole/metrics.csv").read_text().splitlines()
    told = header.split(",").index("companion_return")
    assert all(float(row.split(",")[told]) < 0 for row in rows[1:])


def test_a_companion_inside_a_companion_is_charged_with_it():
    """The inner one trains alongside the outer one; settings survive their file."""
    inner = Companion(EASIER, TINY, updates=3)
    guide = Companion(EASIER, TINY, (inner,), count=2, updates=2, every=2)
    made = guide.make(STUDENT.spec, make_learner(TINY, STUDENT.spec))
    assert made.env_steps(5) == 2 * (6 * 8 + 6 * 3 * 8)
    assert registry.decode("guidance", json.loads(json.dumps(registry.encode("guidance", guide)))) == guide


def test_turns_are_charged_from_where_companions_began_afresh():
    """A turn before every second update: 0 and 2 of the first three, and 3, 5, 7 and 9 after they began afresh."""
    config = run.Config(STUDENT, TINY, (Companion(EASIER, TINY, updates=2, every=2),), 80, 1)
    guides = [guide.make(STUDENT.spec, make_learner(TINY, STUDENT.spec)) for guide in config.guidance]
    charged = [prices(config, guides, 10, begun)[0]["env_steps"] for begun in ((0,), (0, 3))]
    assert charged == [5 * 2 * 8, 6 * 2 * 8]


@pytest.mark.parametrize(
    "settings,says",
    [
        ({"env": None}, "needs an environment"),
        ({"learner": None}, "give the companion a learner"),
        ({"roles": ("adversary",)}, "unknown role of the companion"),
        ({"roles": ("agent",), "into": ("talker",)}, "unknown role"),
        ({"roles": ("agent", "agent"), "into": ("agent", "agent")}, "twice"),
        ({"env": Tag(2), "roles": ("adversary", "agent")}, "2 roles of the companion go into"),
    ],
)  # fmt: skip
def test_bad_input_is_refused_in_one_line(settings, says):
    if "into" not in settings and len(settings.get("roles", ())) > 1:
        settings = settings | {"into": ("agent",)}
    with pytest.raises(HeadstartError, match=says) as caught:
        Companion(**{"env": EASIER, "learner": TINY} | settings).make(STUDENT.spec, TINY.make(STUDENT.spec))
    assert "\n" not in str(caught.value)


def test_parts_of_another_kind_are_refused(capsys, tmp_path):
    for wrong in ({"env": TINY}, {"learner": EASIER}, {"guidance": (EASIER,)}):
        with pytest.raises(HeadstartError, match="must be a part of this kind"):
            Companion(**wrong)
    for words, says in (
        (["--guidance", "companion"], "needs an environment"),
        (["--guidance", "companion:spread", "--guidance.learner", "ipo"], "ippo"),
        (["--guidance", "companion:spread", "--guidance.learner", "maddpg"], "no layer between"),
        (["--guidance", "companion:spread", "--guidance.learner.lr", "1"], "guidance.learner"),
        (["--guidance", "companion:nowhere"], "unknown env"),
    ):
        with pytest.raises(SystemExit):
            cli.main(["train", "spread", "--learner", "ippo", *words, "--out", str(tmp_path / "out")])
        told = capsys.readouterr().err
        assert says in told and told.count("\n") == 1 and not (tmp_path / "out").exists(), told
