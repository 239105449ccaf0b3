"""What the documents tell people to type works: every command and every Python example, with the work made small."""

import dataclasses
import re
import shlex
import sys
from pathlib import Path

import pytest

from headstart.cli import experiments, train
from headstart.cli import main as cli
from headstart.core.own import installed
from headstart.experiments import report
from headstart.papers import cesma, knowru
from headstart.report import ledger
from headstart.training import api
from headstart.training.cluster.address import engine

pytestmark = pytest.mark.usefixtures("sessions_once")  # pages show each other's commands
ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """Every `headstart ...` line of a page's shell blocks, comments left out."""
    lines = [line for block in blocks(page, "bash") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [word[1:] for word in words if word and Path(word[0]).name == "headstart"]


def test_the_pages_have_commands_and_examples_to_run():
    """Else the tests below would pass with nothing read."""
    for name in ("README.md", "docs/environments.md", "docs/results.md", "docs/your-own.md"):
        assert len(commands(ROOT / name)) >= 3, name
    assert blocks(ROOT / "README.md", "python") and blocks(ROOT / "docs/environments.md", "python")


RESULTS = sorted((ROOT / "docs/results").glob("*.md"))


@pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.name)
def test_the_numbers_of_a_page_of_results_are_those_of_the_reports_beside_it(page):
    content = page.read_text(encoding="utf-8")
    assert ledger.BLOCK.search(content)
    assert ledger.fill(content, page) == content


def made_small(words: list[str]) -> list[str]:
    """The same command with a few env-steps, two seeds, two evaluations, one small layer and the smallest scale."""
    small = {"--steps": "400", "--seeds": "2", "--evaluations": "2", "--scale": "smoke", "--episodes": "8"}
    words = [small.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    if words[0] in ("evaluate", "record"):
        return [*words, *([] if "--episodes" in words else ["--episodes", "4"])]
    if words[0] == "reproduce":  # the arm with the paper's name or one cell of a matrix, and those it is compared with
        paper = words[1].partition("/")[0]
        return [*words, "--arms", "distill-1-to-3" if paper == "transfer" else paper]
    if words[0] not in ("train", "sweep") or "--help" in words:
        return words
    if "imitator" in words:
        return [*words, "--learner.warmup", "100", "--evaluations", "2", "--episodes", "4"]
    replay = [] if {"ppo", "ippo", "reinforce"} & set(words) else ["--learner.warmup", "100", "--learner.batch", "16"]
    replay += ["--learner.embedding", "8", "--learner.blocks", "1"] if {"agnn", "agp"} & set(words) else []
    replay += ["--learner.embedding", "8"] if "maac" in words else []
    rare = [] if "--evaluations" in words else ["--evaluations", "2"]
    narrow = [] if {"--learner.hidden", "reinforce"} & set(words) else ["--learner.hidden", "16"]
    return [*words, *replay, *narrow, *rare, "--episodes", "4"]


def cartpole_experts(folder: Path) -> bool:
    """Write the experts expert.zip and expert.pt of a page, if the packages that write them are installed."""
    if not (installed("stable-baselines3") and installed("torch")):
        return False
    import torch
    from stable_baselines3 import PPO

    PPO("MlpPolicy", "CartPole-v1", device="cpu").save(folder / "expert.zip")
    torch.jit.trace(torch.nn.Linear(4, 2), torch.zeros(2, 4)).save(str(folder / "expert.pt"))
    return True


def ran_before(page: Path) -> list[list[str]]:
    """The experiments of a page that an earlier page runs as well, in the same directory or another."""
    earlier = [words[:2] for other in PAGES[: PAGES.index(page)] for words in commands(other)]
    return [words for words in commands(page) if words[0] == "reproduce" and words[:2] in earlier]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))  # where the pages' own modules are
    for scale in knowru.PLANS:
        monkeypatch.setitem(knowru.PLANS, scale, (24, 2))
        monkeypatch.setitem(cesma.PLANS, scale, cesma.Plan(800, 800, 800, 2))
    reproduce = experiments._reproduce
    monkeypatch.setattr(experiments, "_reproduce", lambda name, scale, *args: reproduce(name, "smoke", *args))  # the demo's too
    for module in (experiments, train):  # what --on names is read, and the work stays in this process, where it is small
        monkeypatch.setattr(module, "engine_of", lambda on: (engine(on) if on else None) and None)
    if page.name != "README.md":  # an episode in a report is a program more
        monkeypatch.setattr(report, "replay_of", lambda path, title, metric="": None)
    for words in commands(page):
        if "DIR" in words or words in ran_before(page):
            continue  # a form, not a command; or a long one that another page has
        if any(word.startswith("mujoco:") for word in words) and not installed("mujoco"):
            continue
        if "--trust" in words and not cartpole_experts(Path()):
            continue
        try:
            cli.main(made_small(words))
        except SystemExit as end:  # --help
            assert end.code in (0, None), (words, capsys.readouterr().err)


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_examples(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])  # to which an example may add
    import headstart

    def train(env, learner, out, **settings):
        small = {"steps": 400, "evaluations": 2, "episodes": 4, "progress": False}
        learner = headstart.preset("learner", learner) if isinstance(learner, str) else learner
        quick = {"warmup": 100, "batch": 16} if hasattr(learner, "warmup") else {}
        return api.train(env, dataclasses.replace(learner, **quick), out, **(settings | small))

    monkeypatch.setattr(headstart, "train", train, raising=False)
    for block in blocks(page, "python"):
        exec(compile(block, str(page), "exec"), {})


LINKED = [*PAGES, *sorted((ROOT / "docs").rglob("*/*.md"))]


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings: lower case, without punctuation, a hyphen for a space."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    lines = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", line).strip().lower().replace(" ", "-") for line in lines}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_within_the_repository_leads_somewhere(page, monkeypatch):
    """To a file, and in it to a heading or to the definition of a symbol."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import site_links

    for target in site_links.targets(page.read_text(encoding="utf-8")):
        path, place = site_links.split(target, page.relative_to(ROOT).as_posix())
        there = ROOT / path
        assert there.is_file() and ROOT in there.resolve().parents, target
        known = headings(there) if there.suffix == ".md" else site_links.defined(there) if there.suffix == ".py" else ()
        assert not place or place in known, target


def test_links_are_found_outside_of_code_and_definitions_by_their_lines(tmp_path, monkeypatch):
    """Else the test above would pass with nothing read."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    import site_links

    text = "[a](x.md#y), `[b](z)`, [`c`](../d.py#E.f) and [e](https://example.org)\n```py\n[f](g)\n```\n![h](i.png)"
    assert site_links.targets(text) == ["x.md#y", "../d.py#E.f", "i.png"]
    assert site_links.split("../d.py#E.f", "docs/page.md") == ("d.py", "E.f")
    (tmp_path / "d.py").write_text("A = 1\n\n\nclass E:\n    x: int = 2\n\n    def f(self):\n        pass\n")
    assert site_links.defined(tmp_path / "d.py") == {"A": 1, "E": 4, "E.x": 5, "E.f": 7}
    assert site_links.relinked("[`c`](../d.md)", "docs/results/page.md") == "[`c`](../d.md)"
    assert site_links.relinked("[c](../../Makefile)", "docs/results/page.md") == "[c](../source/Makefile.md)"
    assert site_links.relinked("[c](../Makefile)", "docs/page.md") == "[c](source/Makefile.md)"
    assert site_links.relinked("[d](docs/e.md#f)", "CONTRIBUTING.md") == "[d](e.md#f)"


def test_every_page_of_docs_is_in_the_navigation_once():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").partition("\nnav:\n")[2]
    pages = [page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")]
    assert sorted(re.findall(r": (\S+\.md)$", nav, re.MULTILINE)) == sorted([*pages, "contributing.md"])


def test_the_reference_has_every_public_name():
    import headstart

    text = (ROOT / "docs/reference.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^::: headstart\.(\w+)$", text, re.MULTILINE)) == set(dir(headstart)) - {"__version__"}


def test_the_readme_names_every_command():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for name in cli.COMMANDS:
        assert f"headstart {name}" in text or f"make {name}" in text, name


def test_the_table_of_environments_is_true():
    """Every particle world is in it, with the sizes its spec has."""
    from headstart import registry

    text = (ROOT / "docs/environments.md").read_text(encoding="utf-8")
    told = dict(re.findall(r"^\| `([\w-]+)` \| (\w+: .*?) \|", text, re.MULTILINE))
    kinds = {5: "5 moves"}
    for name, env in registry.presets("env").items():
        if not type(env).__module__.startswith("headstart.envs.particle"):
            continue
        roles = []
        for role, about in env.spec.roles.items():
            spoken = {route.head for route in env.spec.messages if route.speaker == role}
            heads = [f"{n} words" if i in spoken else kinds[n] for i, n in enumerate(about.actions.heads)]
            roles.append(f"{role}: {about.agents} × {about.obs_size}, {' and '.join(heads)}")
        assert told.pop(name) == "; ".join(roles), name
    assert not told


@pytest.mark.parametrize("page", ["trust", "environments"])
def test_every_promise_has_its_tests(page):
    """The tests that a page names are there."""
    text = (ROOT / f"docs/{page}.md").read_text(encoding="utf-8")
    named = re.findall(r"(test_\w+) ((?:`test_\w+`(?:, )?)+)", text)
    assert sum(len(re.findall("`", tests)) // 2 for _, tests in named) > 20
    for file, tests in named:
        source = (ROOT / "tests" / f"{file}.py").read_text(encoding="utf-8")
        for test in re.findall(r"`(\w+)`", tests):
            assert f"def {test}(" in source, (file, test)
    if page == "environments":  # a row without a test would be a promise without one
        rows = text[text.index("### What is understood") :].split("## A headstart team")[0].splitlines()
        cells = [row for row in rows if row.startswith("| ") and "| tests |" not in row]
        assert len(cells) > 10 and all("`test_" in row for row in cells)
