"""The rules of the house, read from the source: nothing is imported to find out."""

import ast
from pathlib import Path

import headstart

ROOT = Path(headstart.__file__).parent
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path != ROOT / "__init__.py"  # the public names, imported when they are first used
}
STOREYS = (
    ("_version", "core"),
    ("storage", "report", "plain"),
    ("views", "registry"),
    ("envs", "learners"),
    ("teams",),
    ("guidance",),
    ("training", "replay"),
    ("experiments",),
    ("papers",),
    ("cli",),
)
"""Rooms from the ground up: a room imports from its own storey only itself, and from those above it nothing."""
RANK = {room: rank for rank, rooms in enumerate(STOREYS) for room in rooms}
BELOW = {"storage": {"core"}, "report": {"core", "storage"}, "registry": {"core"}, "learners": {"core"}, "plain": {"core"}}
"""Rooms that may use fewer than all those below them."""


def imported(path: Path) -> list[tuple[str, bool]]:
    """[(full name of an imported module or of a name in it, whether at the top level)]."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    out = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            out += [(alias.name, id(node) in top) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            out += [(f"{node.module}.{alias.name}", id(node) in top) for alias in node.names]
    return out


def module_of(name: str) -> str | None:
    """The module of ours that `headstart.x.y` names or lies in."""
    parts = name.split(".")[1:]
    while parts:
        if ".".join(parts) in SOURCES:
            return ".".join(parts)
        parts.pop()
    return None


def room(module: str) -> str:
    return module.split(".")[0]


IMPORTS = {module: imported(path) for module, path in SOURCES.items()}
OURS = {
    module: {found for name, _ in names if name.startswith("headstart.") and (found := module_of(name))} - {module}
    for module, names in IMPORTS.items()
}


def reach(*modules: str) -> set[str]:
    """The modules, and all they import."""
    done, todo = set(), set(modules)
    while todo:
        done |= todo
        todo = set().union(*(OURS[m] for m in todo)) - done
    return done


def libraries(modules: set[str]) -> set[str]:
    """The first names of all that is imported in these modules."""
    return {name.split(".")[0] for module in modules for name, _ in IMPORTS[module]}


def test_the_whole_package_is_read():
    assert {"learners.ddpg", "guidance.distill", "training.run", "report.build", "core.types"} <= set(SOURCES)
    assert "core.learner" in OURS["learners.ddpg"] and "core.checks" in OURS["training.run"]


def test_imports_point_down():
    for module, others in OURS.items():
        assert room(module) in RANK, f"{room(module)} has no storey: give it one in STOREYS"
        allowed = BELOW.get(room(module), {other for other in RANK if RANK[other] < RANK[room(module)]}) | {room(module)}
        assert {room(other) for other in others} <= allowed | {"_version"}, f"{module} imports {others}"


def test_core_imports_no_part():
    assert {room(other) for module, others in OURS.items() if room(module) == "core" for other in others} == {"core"}


def test_parts_do_not_know_each_other():
    """Learners share what stands in `core` and in the modules beside them that are no parts themselves; guidance too."""
    for module, others in OURS.items():
        for kind in ("learners", "guidance"):
            if room(module) == kind:
                parts = {other for other in others if room(other) == kind and "PRESETS" in SOURCES[other].read_text()}
                assert not parts, f"{module} imports {parts}"
        if room(module) == "guidance":
            assert not {other for other in others if room(other) == "learners"}, module


def test_nothing_imports_in_a_circle():
    left = {module: set(others) for module, others in OURS.items()}
    while free := [module for module, others in left.items() if not others & set(left)]:
        for module in free:
            del left[module]
    assert not left


def test_reports_need_no_jax():
    met = libraries(reach(*(module for module in SOURCES if room(module) == "report")))
    assert not met & {"jax", "jaxlib", "equinox", "optax"}


def test_workers_of_host_environments_need_no_jax():
    """A worker process starts with the first step of a run: JAX would take seconds and hundreds of megabytes each."""
    assert not libraries(reach("envs.host.worker", "envs.host.openers")) & {"jax", "equinox"}


def test_nothing_is_executed_that_was_read():
    assert not libraries(set(SOURCES)) & {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
    for module, path in SOURCES.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                name = node.func.id if isinstance(node.func, ast.Name) else ""
                assert name not in ("eval", "exec", "compile", "__import__"), f"{module}:{node.lineno} calls {name}"
                allowed = [k.value for k in node.keywords if k.arg == "allow_pickle"]
                assert not any(getattr(v, "value", True) for v in allowed), f"{module}:{node.lineno} allows pickle"


def test_heavy_libraries_wait_until_they_are_needed():
    """plotly and jinja2 are for reports only, matplotlib for animations only: none loads with its module."""
    late = {"plotly", "jinja2", "matplotlib", "jaxmarl", "mpe2", "pettingzoo", "gymnasium", "mujoco", "sklearn"}
    late |= {"onnx", "onnxruntime", "tensorboardX", "wandb", "torch", "stable_baselines3", "ray", "submitit"}
    for module, names in IMPORTS.items():
        if room(module) != "report":
            assert not {name for name, top in names if top and name.split(".")[0] in late}, module


def test_the_command_line_starts_without_what_is_heavy():
    tops = {module: {found for name, top in names if top and (found := module_of(name))} for module, names in IMPORTS.items()}
    done, todo = set(), {"cli.main"}
    while todo:
        done |= todo
        todo = set().union(*(tops[m] for m in todo)) - done
    met = {name.split(".")[0] for module in done for name, top in IMPORTS[module] if top}
    assert not met & {"jax", "equinox", "optax", "numpy", "scipy", "tyro", "rich", "plotly", "safetensors"}, done
