"""Imports point one way, read from the source: nothing is imported to find out."""

import ast
from pathlib import Path

import pytest

import headstart

ROOT = Path(headstart.__file__).parent
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path != ROOT / "__init__.py"  # the public names, imported when they are first used
}
LAYERS = (
    {
        "_version",
        "checks",
        "spec",
        "types",
        "files",
        "storage",
        "ops",
        "actions",
        "networks",
        "memory",
        "adapt",
        "central",
        "messages",
    },
    {"envs", "learners", "guidance", "registry"},
    {"trainer"},
    {"policy", "rundir", "replay", "config", "programs", "session", "run", "demos"},
    {"papers", "report"},
    {"cli", "api", "console", "__main__"},
)
RANK = {part: rank for rank, parts in enumerate(LAYERS) for part in parts}


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


OURS = {
    module: {found for name, _ in imported(path) if name.startswith("headstart.") and (found := module_of(name))} - {module}
    for module, path in SOURCES.items()
}


def test_the_whole_package_is_read():
    assert {"learners.ddpg", "guidance.distill", "run", "report.build", "types"} <= set(SOURCES)
    assert "learners.base" in OURS["learners.ddpg"] and "checks" in OURS["run"]


@pytest.mark.parametrize("module", SOURCES)
def test_imports_point_down(module):
    part = module.split(".")[0]
    assert part in RANK, f"{part} has no layer: give it one in LAYERS"
    above = {other for other in OURS[module] if RANK[other.split(".")[0]] > RANK[part]}
    assert not above, f"{module} imports {above}"


@pytest.mark.parametrize("module", SOURCES)
def test_parts_do_not_know_each_other(module):
    part = module.split(".")[0]
    theirs = {
        "envs": ("learners", "guidance"), "learners": ("guidance", "envs"), "guidance": ("learners",), "report": ("papers",),
    }.get(part, ())  # fmt: skip
    met = {m for m in OURS[module] if m.split(".")[0] in theirs} - ({"learners.base"} if part == "guidance" else set())
    assert not met, f"{module} imports {met}"


def test_nothing_imports_in_a_circle():
    left = {module: set(others) for module, others in OURS.items()}
    while free := [module for module, others in left.items() if not others & set(left)]:
        for module in free:
            del left[module]
    assert not left


@pytest.mark.parametrize("module", [m for m in SOURCES if m.split(".")[0] == "report"])
def test_reports_need_no_jax(module):
    reach, todo = set(), {module}
    while todo:
        reach |= todo
        todo = set().union(*(OURS[m] for m in todo)) - reach
    for other in reach:
        heavy = {name for name, _ in imported(SOURCES[other]) if name.split(".")[0] in ("jax", "jaxlib", "equinox", "optax")}
        assert not heavy, f"{module} reaches {other}, which imports {heavy}"


@pytest.mark.parametrize("module", SOURCES)
def test_nothing_is_executed_that_was_read(module):
    banned = {"pickle", "cloudpickle", "dill", "marshal", "shelve", "joblib"}
    assert not banned & {name.split(".")[0] for name, _ in imported(SOURCES[module])}
    for node in ast.walk(ast.parse(SOURCES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            name = node.func.id if isinstance(node.func, ast.Name) else ""
            assert name not in ("eval", "exec", "compile", "__import__"), f"{module}:{node.lineno} calls {name}"
            allowed = [k.value for k in node.keywords if k.arg == "allow_pickle"]
            assert not any(getattr(v, "value", True) for v in allowed), f"{module}:{node.lineno} allows pickle"


def test_workers_of_host_environments_need_no_jax():
    """A worker process starts with the first step of a run: JAX would take seconds and hundreds of megabytes each."""
    todo, reach = {"envs.host.worker", "envs.host.openers"}, set()
    while todo:
        reach |= todo
        todo = set().union(*(OURS[m] for m in todo)) - reach
    for other in reach:
        assert not {name for name, _ in imported(SOURCES[other]) if name.split(".")[0] in ("jax", "equinox")}, other


def test_heavy_libraries_wait_until_they_are_needed():
    """plotly and jinja2 are for reports only, matplotlib for animations only: none loads with its module."""
    late = {"plotly", "jinja2", "matplotlib", "jaxmarl", "mpe2", "pettingzoo", "gymnasium"}
    for module, path in SOURCES.items():
        early = {name for name, top in imported(path) if top and name.split(".")[0] in late}
        if module.split(".")[0] != "report":
            assert not early, f"{module} imports {early} at its top"
