"""Results for other tools: the JSON of marl-eval, and intervals as rliable computes them."""

import csv
import json

import numpy as np
import pytest
import scipy.stats
from test_runs import PLAIN

from headstart.cli import main as cli
from headstart.experiments.marl_eval import task_of
from headstart.report.stats import interval, iqm
from headstart.training import run

pytestmark = pytest.mark.usefixtures("sessions_once")


@pytest.mark.slow
def test_the_file_holds_the_evaluations_of_every_seed(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    team = run.train(PLAIN, "runs/mine")
    cli.main(["report", "runs/mine", "--marl-eval", "results.json"])
    assert "results.json: the evaluations of 1 run" in capsys.readouterr().out
    found = json.loads((tmp_path / "results.json").read_text())
    ((environment, tasks),) = found.items()
    ((task, algorithms),) = tasks.items()
    assert (environment, task) == task_of(json.loads((tmp_path / "runs/mine/run.json").read_text())["config"]["env"])
    seeds = algorithms.pop("mine")
    assert list(seeds) == ["seed_0", "seed_1"] and not algorithms
    rows = list(csv.DictReader((tmp_path / "runs/mine/metrics.csv").open()))
    for number, seed in enumerate(seeds.values()):
        absolute = seed.pop("absolute_metrics")["mean_episode_return"]
        assert len(absolute) == 1 and absolute[0] == pytest.approx(run.score(team, PLAIN.env, 10 * PLAIN.episodes)[number])
        want = [(int(row["env_steps"]), [float(row["eval_return"])]) for row in rows if row["seed"] == str(number)]
        assert [(step["step_count"], step["mean_episode_return"]) for step in seed.values()] == want
        assert list(seed) == [f"step_{k}" for k in range(len(want))]
    before = (tmp_path / "results.json").read_bytes()
    for words, says in (
        (["runs/mine", "--marl-eval", "results.json"], "results.json already exists: choose another name"),
        (["runs/mine", "runs/mine", "--marl-eval", "more.json"], "two runs have the name mine"),
        (["runs/mine", "--marl-eval", "more.json", "--metric", "win"], "--marl-eval writes one file with all metrics"),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(["report", *words])
        assert end.value.code == 2 and says in capsys.readouterr().err
    assert (tmp_path / "results.json").read_bytes() == before and not (tmp_path / "more.json").exists()


@pytest.mark.parametrize(
    ("env", "names"),
    [
        ({"name": "smax", "settings": {"id": "3m", "horizon": 100}}, ("smax", "3m")),
        ({"name": "spread", "settings": {"agents": 5}}, ("spread", "5-agents")),
        ({"name": "treasure", "settings": {}}, ("treasure", "treasure")),
        ({"name": "inputs", "settings": {"env": {"name": "smax", "settings": {"id": "8m"}}}}, ("smax", "8m")),
    ],
)
def test_environments_and_their_tasks_have_names(env, names):
    assert task_of(env) == names


def rliable(x: np.ndarray, resamples: int = 20_000) -> tuple[float, float, float]:
    """rliable's `aggregate_iqm` with its stratified bootstrap: `trim_mean` of all runs [S Q], and percentiles of it where the
    runs of each task are drawn anew."""
    rng, (runs, tasks) = np.random.default_rng(1), x.shape
    drawn = rng.integers(runs, size=(resamples, runs, tasks))
    means = scipy.stats.trim_mean(x[drawn, np.arange(tasks)].reshape(resamples, -1), 0.25, axis=1)
    return (scipy.stats.trim_mean(x, 0.25, axis=None), *np.percentile(means, [2.5, 97.5]))


@pytest.mark.parametrize("shape", [(8, 1), (4, 3), (10, 6), (5, 4)])
def test_intervals_over_tasks_are_those_of_rliable(shape):
    """To the noise of two bootstraps; the numbers of runs are multiples of four, for which both means are the same."""
    x = np.random.default_rng(0).normal(size=shape) + np.arange(shape[1])
    ours = interval(x.T, strata=True, resamples=20_000)
    mean, low, high = rliable(x)
    assert float(ours["iqm"]) == pytest.approx(mean, abs=1e-12)
    assert [float(ours["low"]), float(ours["high"])] == pytest.approx([low, high], abs=0.03 * (high - low))


def test_of_other_numbers_rliable_cuts_whole_runs_only():
    x = np.array([0.0, 1.0, 8.0])
    assert scipy.stats.trim_mean(x, 0.25) == 3.0 and float(iqm(x)) == pytest.approx((0 + 4 * 1 + 8) / 6)
