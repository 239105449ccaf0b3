"""What the registry saves comes back equal, parts inside parts as well; what would be lost is refused in one line."""

import dataclasses
import json
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import numpy as np
import pytest
from annotated_types import Ge, Gt

from headstart import registry
from headstart.cli import main as cli
from headstart.core.checks import HeadstartError
from headstart.core.env import Env
from headstart.core.guidance import Guidance, TeacherLike, takes_teacher, teacher_of
from headstart.core.learner import LearnerConfig
from headstart.core.part import kind_of, part, parts_in
from headstart.core.ranges import Natural, Unit
from headstart.envs.centralized import Centralized
from headstart.envs.particle.spread import Spread
from headstart.envs.particle.tag import Tag
from headstart.envs.pettingzoo import PettingZoo
from headstart.guidance.distill import Distill
from headstart.learners.ddpg import DDPG
from headstart.learners.ppo import PPO
from headstart.storage import files
from headstart.training import config as training
from headstart.training import run


@part("guidance")
class Nest:
    """Guidance without a teacher that holds parts in every way."""

    learner: LearnerConfig = PPO(hidden=(3,), gamma=0.5)
    env: Env = Spread(4)
    more: tuple[Any, ...] = (Tag(prey_speed=2.0), (Centralized(Spread(2), "joint"), DDPG(hidden=())))
    named: dict[str, Any] = dataclasses.field(default_factory=lambda: {"a": Spread(5), "b": (1, (2.5, "x", None, True))})
    groups: tuple[tuple[str, tuple[int, ...]], ...] = (("leader", (0,)), ("adversary", (1, 2)))
    inside: Any = Distill(alpha=0.25)
    weight: Unit = 0.5

    def make(self, spec, learner):
        return Guidance()


@part("learner")
class Unnamed:
    """A learner in nobody's PRESETS."""

    size: Natural = 3
    function: Callable[..., Any] | None = None

    def make(self, spec):
        return self.function


@dataclasses.dataclass(frozen=True)
class Undeclared:
    """A class with an environment's methods, which does not declare its kind."""

    size: int = 3

    def reset(self, key):
        return key

    def step(self, state, action, key):
        return state


def module(name: str, **presets: Any) -> ModuleType:
    made = ModuleType(name)
    made.__dict__["PRESETS"] = presets
    return made


@pytest.fixture(autouse=True)
def joined(monkeypatch):
    monkeypatch.setattr(registry, "_joined", {kind: {} for kind in registry.KINDS})
    monkeypatch.setattr(registry, "used", set())
    registry.presets.cache_clear()
    registry.use(module("nests", nest=Nest()))
    yield
    registry.presets.cache_clear()


def written(kind: str, value: Any) -> Any:
    return json.loads(json.dumps(registry.encode(kind, value), allow_nan=False))


def refusal(function: Callable[[], Any]) -> str:
    with pytest.raises(HeadstartError) as caught:
        function()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ------------------------------------------------------------------ round trips


def another(hint: Any, value: Any) -> Any:
    """A value of a field other than `value`, by the field's annotation; the same where there is none to think of."""
    origin, args = get_origin(hint), get_args(hint)
    if kind_of(value):
        return Spread(7)
    if value == "{}":
        return '{"a": 1}'
    if origin is Annotated:
        return another(args[0], value)
    if origin is Literal:
        return args[(args.index(value) + 1) % len(args)]
    if hint is str:
        return value + "0"
    if hint is bool:
        return not value
    if hint is int:
        return value * 2 + 2
    if hint is float:
        return value / 2 + 0.125
    if origin is tuple and get_origin(args[0]) is not Annotated:
        return ("one", "two") if args[0] is str else value
    if origin is tuple and value:
        return tuple(another(args[0], x) for x in value)
    return value


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in registry.KINDS for name in registry.presets(kind)])
def test_every_setting_comes_back(kind, name):
    preset = registry.preset(kind, name)
    assert kind_of(preset) == kind
    assert registry.decode(kind, written(kind, preset)) == preset
    hints, varied, changed = get_type_hints(type(preset), include_extras=True), preset, []
    for field in dataclasses.fields(preset):
        value = another(hints[field.name], getattr(preset, field.name))
        try:
            single = dataclasses.replace(preset, **{field.name: value})
        except HeadstartError:  # fields that depend on each other
            continue
        assert registry.decode(kind, written(kind, single)) == single
        changed += [field.name] if single != preset else []
        try:
            varied = dataclasses.replace(varied, **{field.name: value})
        except HeadstartError:
            continue
    assert registry.decode(kind, written(kind, varied)) == varied
    assert not changed or varied != preset
    assert len(changed) >= 2


def test_parts_inside_parts_come_back():
    again = registry.decode("guidance", written("guidance", Nest()))
    assert again == Nest()
    assert isinstance(again.learner, PPO) and isinstance(again.more[1][1], DDPG) and again.groups == Nest.groups
    saved = registry.encode("guidance", Nest())["settings"]
    assert saved["learner"] == {"part": "learner", **registry.encode("learner", Nest().learner)}
    assert saved["named"]["a"]["part"] == "env" and saved["more"][1][0]["settings"]["env"]["part"] == "env"


def test_files_of_earlier_versions_are_read():
    saved = {"name": "centralized", "settings": {"env": {"name": "spread", "settings": {"agents": 4}}, "actions": "joint"}}
    assert registry.decode("env", saved) == Centralized(Spread(4), "joint")


@pytest.mark.parametrize("where", ["env", "more", "named", "name"])
def test_no_environment_inside_makes_us_import(where):
    bad = {"part": "env", "name": "pettingzoo", "settings": {"id": "os:system"}}
    saved = {"env": {"env": bad}, "more": {"more": [[bad]]}, "named": {"named": {"x": bad}}, "name": {}}[where]
    kind, name = ("env", "centralized:pettingzoo:os:system") if where == "name" else ("guidance", "nest")
    with pytest.raises(registry.Untrusted, match="--use os"):
        registry.decode(kind, {"name": name, "settings": saved})
    registry.use("os")
    assert PettingZoo("os:system") in list(everything_in(registry.decode(kind, {"name": name, "settings": saved})))


def everything_in(value: Any):
    for inner in parts_in(value):
        yield inner
        yield from everything_in(inner)


# ------------------------------------------------------------------ what would be lost


def test_what_no_registry_knows_is_refused_inside():
    told = refusal(lambda: registry.encode("guidance", Nest(learner=Unnamed())))
    assert told.startswith("guidance.learner cannot be saved: no registry knows") and "--use MODULE" in told
    assert "guidance.more" in refusal(lambda: registry.encode("guidance", Nest(more=((Unnamed(),),))))
    assert "Undeclared" in refusal(lambda: registry.encode("guidance", Nest(env=Undeclared())))
    assert "Undeclared" in refusal(lambda: registry.encode("env", Centralized(Undeclared())))
    assert "teacher" in refusal(lambda: registry.encode("guidance", Nest(inside=Distill("runs/x"))))


@pytest.mark.parametrize(
    "value",
    [len, np.ones(2), [1], {1: 2}, {"part": 1}, {"name": 1, "settings": 2}, {1}, 1j, np.float32(1), float("inf")],
    ids=repr,
)
def test_what_json_has_not_is_refused(value):
    told = refusal(lambda: registry.encode("guidance", Nest(inside=value)))
    assert told.startswith("guidance.inside cannot be saved")
    assert "learner.function" in refusal(lambda: registry.encode("learner", Unnamed(function=len)))


def test_top_level_parts_that_nobody_named():
    """A team can be used without its environment; what it learned by is kept, and found once its module is named."""
    saved = written("learner", Unnamed(5))
    assert saved == {"name": f"{__name__}:Unnamed", "settings": {"size": 5, "function": None}}
    assert f"--use {__name__}" in refusal(lambda: registry.decode("learner", saved))
    registry.use(sys.modules[__name__])  # no preset is of this class
    assert registry.decode("learner", saved) == Unnamed(5)
    assert "unknown env" in refusal(lambda: registry.decode("env", saved))
    for name in ("Undeclared", "part", "absent"):
        assert "unknown" in refusal(lambda name=name: registry.decode("env", saved | {"name": f"{__name__}:{name}"}))
    assert "without its settings" in refusal(lambda: registry.decode("learner", saved | {"settings": {}}))
    registry.use(module("own", mine=Unnamed()))
    assert registry.decode("learner", saved) == Unnamed(5)
    assert written("env", Undeclared(4)) == {"name": f"{__name__}:Undeclared", "settings": {"size": 4}}
    odd = part("env")(type("Odd", (), {"__annotations__": {"way": Any}, "way": len}))
    assert written("env", odd())["settings"] == {}


def test_what_a_named_module_offers_stands_in_place_of_advice_to_name_it(as_users):
    registry.use(module("bare"))
    told = refusal(lambda: registry.preset("env", "bare:Mine"))
    assert "bare is the module: name an instance in its PRESETS" in told and "pettingzoo:bare:Mine" in told
    assert "pettingzoo" not in refusal(lambda: registry.preset("learner", "bare"))
    assert refusal(lambda: registry.preset("env", "hauling")).endswith("(bare offers no PRESETS; nests offers nest)")
    assert "pass --use other" in refusal(lambda: registry.preset("env", "other:Mine"))


def test_a_file_says_which_module_its_parts_need(tmp_path):
    """Wherever the part stands, and in the command by which a run goes on; what is no module's name is told to nobody."""
    saved = written("env", Centralized(PettingZoo("theirs:Env"))) | {"learner": written("guidance", Nest())}
    assert registry.command("resume", tmp_path / "r") == f"headstart resume {tmp_path / 'r'} --use nests"
    assert registry.command("resume", tmp_path / "r", saved=saved).endswith("r --use nests --use theirs")
    again = written("guidance", Nest())
    assert again["module"] == "nests" and registry.decode("guidance", again) == Nest()
    registry._joined["guidance"].clear()
    registry.used.clear()
    registry.presets.cache_clear()
    told = "guidance 'nest' is of the module nests: pass --use nests (headstart.use)"
    assert refusal(lambda: registry.decode("guidance", again)) == told
    assert registry.command("resume", tmp_path, saved=[again]).endswith(" --use nests")
    for odd in ("x; rm -rf", "", 3, ["nests"]):
        assert "unknown guidance 'nest'" in refusal(lambda odd=odd: registry.decode("guidance", again | {"module": odd}))
        assert "--use" not in registry.command("resume", tmp_path, saved=again | {"module": odd, "settings": {}})


@pytest.mark.parametrize(
    ("saved", "says"),
    [
        ({"part": "thing", "name": "ppo", "settings": {}}, "unknown kind of part 'thing'"),
        ({"part": "learner", "name": "pop", "settings": {}}, "did you mean"),
        ({"part": "learner", "name": "ppo", "settings": []}, "not one this version can read"),
        ({"part": "learner", "name": "ppo", "settings": {"colour": 1}}, "colour"),
        ({"part": "learner", "name": "ppo", "settings": {"gamma": "x"}}, "learner.gamma must be a number, not 'x'"),
        ({"part": "learner"}, "not one this version can read"),
    ],
)
def test_damaged_parts_inside_are_refused(as_users, saved, says):
    assert says in refusal(lambda: registry.decode("guidance", {"name": "nest", "settings": {"learner": saved}}))


# ------------------------------------------------------------------ what a part is


def test_a_part_says_what_it_is(as_users):
    assert [kind_of(x) for x in (Spread(), PPO(), Distill(), Nest())] == ["env", "learner", "guidance", "guidance"]
    assert [kind_of(x) for x in (Undeclared(), Spread, "spread", None)] == [None] * 4
    told = refusal(lambda: registry.use(module("own", mine=Undeclared())))
    assert told.startswith("'mine' must say which kind of part it is") and '@headstart.part("env")' in told
    for bad in (Spread, 3):
        assert "'mine' must be an instance" in refusal(lambda bad=bad: registry.use(module("own", mine=bad)))
    for args in ((Undeclared(), PPO()), ("spread", PPO()), (Spread(), Spread()), (Spread(), PPO(), (PPO(),))):
        assert "must be a part of this kind" in refusal(lambda args=args: training.Config(*args))


def test_guidance_without_a_teacher():
    assert takes_teacher(Distill()) and not takes_teacher(Nest())
    assert teacher_of(Distill("runs/x")) == "runs/x" and teacher_of(Distill()) is None and teacher_of(Nest()) is None


@pytest.mark.slow
def test_a_run_with_parts_inside_its_guidance_is_read_back(tmp_path):
    learner = PPO(num_envs=4, rollout=4, hidden=(4,))
    config = training.Config(Spread(2, horizon=5), learner, (Nest(weight=0.25),), steps=16, evaluations=1, episodes=1)
    run.train(config, tmp_path / "run")
    about = files.read_json(tmp_path / "run/run.json")
    assert training.restore(about, tmp_path / "run") == config
    saved = about["config"]["guidance"][0]
    assert saved["settings"]["weight"] == 0.25 and not saved["teacher"] and not saved["scripted"]


def test_a_teacher_for_guidance_that_learns_from_none_is_refused(capsys, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "spread", "--guidance", "nest", "--teacher", "runs/x", "--out", str(tmp_path / "out")])
    assert "does not learn from a teacher: leave out --teacher" in capsys.readouterr().err


def test_declarations_are_frozen_dataclasses():
    @part("learner")
    class Mine:
        share: Unit
        size: Annotated[int, Ge(2)] = 2
        teacher: TeacherLike = None

        def __post_init__(self):
            if self.size == 7:
                raise HeadstartError("learner.size must be lucky")

    assert Mine(0.5) == Mine(0.5, 2) and hash(Mine(0.5)) == hash(Mine(0.5))
    with pytest.raises(dataclasses.FrozenInstanceError):
        Mine(0.5).size = 3  # pyright: ignore
    with pytest.raises(HeadstartError, match="lucky"):
        Mine(0.5, 7)
    with pytest.raises(HeadstartError, match=r"^learner.size must be at least 2, not 1$"):
        dataclasses.replace(Mine(0.5), size=1)

    @part("learner")
    class Heir(Mine):
        rate: Annotated[float, Gt(0)] = 1.0

    with pytest.raises(HeadstartError, match=r"^learner.share must be between 0 and 1, not 2$"):
        Heir(2)
    with pytest.raises(HeadstartError, match="lucky"):
        Heir(0.5, 7)
