"""When a decentralised student can equal a centralised expert: every policy and protocol of small games, tried.

CESMA (Lin et al. 2019), Theorems 1 and 2 and App. F. Exact, in double precision, nothing sampled but the games: S joint
observations (which are the states), M agents; `view` [M S] is what an agent knows there, as a number, `expert` [M S] what it
should do, and d [S] how often it happens. docs/partial-observability.md tells of one of these games in numbers.
"""

import functools
import itertools
import re
from pathlib import Path

import numpy as np

PAGE = Path(__file__).parent.parent / "docs" / "partial-observability.md"

# ------------------------------------------------------------------ policies and their losses


def maps(inputs: int, options: int) -> np.ndarray:
    """Every function from `inputs` to `options`, [options^inputs inputs]."""
    return np.array(list(itertools.product(range(options), repeat=inputs)))


def mistakes(wanted: np.ndarray, view: np.ndarray, actions: int) -> np.ndarray:
    """Where each deterministic policy of one agent errs, [K S]."""
    return maps(view.max() + 1, actions)[:, view] != wanted


def losses(d: np.ndarray, wrong) -> tuple[np.ndarray, np.ndarray]:
    """For every joint policy [K_1 .. K_M]: the agents' mean 0-1 loss, and how often any of them errs."""
    count = np.zeros(d.shape, int)
    for each in wrong:
        count = count[..., None, :] + each
    return count @ d / len(wrong), (count > 0) @ d


def cost(d: np.ndarray, wanted: np.ndarray, view: np.ndarray) -> float:
    """C_p of one agent: Σ over what it may see of P(seen) · (1 − largest posterior of an action of the expert)."""
    total = 0.0
    for seen in set(view):
        weight, asked = d[view == seen], wanted[view == seen]
        if weight.sum() > 0:
            total += weight.sum() * (1 - max(weight[asked == a].sum() / weight.sum() for a in set(asked)))
    return total


def separates(message: np.ndarray, label: np.ndarray, view: np.ndarray, d: np.ndarray) -> bool:
    """Whether messages differ wherever labels do among joint observations that happen and look the same to the agent."""
    pairs = itertools.combinations(np.flatnonzero(d), 2)
    return all(message[s] != message[z] for s, z in pairs if view[s] == view[z] and label[s] != label[z])


def elsewhere(grid: np.ndarray, agent: int) -> np.ndarray:
    """What all others observe, as one number, [S]."""
    return np.unique(np.delete(grid, agent, 0), axis=1, return_inverse=True)[1].reshape(-1)


def heard(grid: np.ndarray, agent: int, protocol: np.ndarray, words: int) -> np.ndarray:
    """What an agent knows that also hears protocol[what the others observe], [S]."""
    return grid[agent] * words + protocol[elsewhere(grid, agent)]


def random_game(rng, most_actions: int):
    """A distribution with or without holes, local observations, and an expert some of whose agents need only their own."""
    sizes = [(3, 3), (2, 3), (2, 2, 2), (3, 2, 2)][rng.integers(4)]
    actions = rng.integers(2, most_actions + 1) if len(sizes) == 2 else 2
    grid = np.indices(sizes).reshape(len(sizes), -1)
    local = [rng.integers(actions, size=size)[own] for size, own in zip(sizes, grid, strict=True)]
    expert = np.where(rng.random((len(sizes), 1)) < 0.4, local, rng.integers(actions, size=grid.shape))
    d = rng.exponential(size=grid.shape[1]) * (rng.random(grid.shape[1]) < rng.choice([0.3, 0.6, 1.0]))
    d[rng.integers(d.size)] += 0.1
    return d / d.sum(), grid, expert, int(actions)


def test_the_least_loss_without_messages_is_the_cost_of_partial_observability():
    rng, positive, misled = np.random.default_rng(0), 0, 0
    for _ in range(300):
        d, grid, expert, actions = random_game(rng, most_actions=3)
        mean, some = losses(d, [mistakes(*agent, actions) for agent in zip(expert, grid, strict=True)])
        costs = [cost(d, *agent) for agent in zip(expert, grid, strict=True)]
        np.testing.assert_allclose(mean.min(), np.mean(costs), atol=1e-12)
        assert max(costs) - 1e-12 < some.min() < sum(costs) + 1e-12
        assert all(cost(d, wanted, np.arange(d.size)) == 0 for wanted in expert)  # who sees everything has no floor
        silence = np.zeros(d.size)
        clash = not all(separates(silence, *agent, d) for agent in zip(expert, grid, strict=True))
        assert (mean.min() > 0) == (some.min() > 0) == clash
        positive += clash
        misled += some.flat[mean.argmin()] > some.min() + 1e-9
    assert 50 < positive < 250
    assert misled  # the formula is of the mean: agents that each do their best need not do their best together


def test_chance_does_not_help_and_cross_entropy_has_a_floor_too():
    """A stochastic policy's loss is the average of deterministic ones', so it is not below the least of them."""
    rng, positive = np.random.default_rng(1), 0
    for _ in range(100):
        d, grid, expert, actions = random_game(rng, most_actions=2)
        wrong = [mistakes(*agent, actions) for agent in zip(expert, grid, strict=True)]
        chance = [rng.dirichlet(np.ones(actions), size=own.max() + 1) for own in grid]
        right = np.array([p[own, wanted] for p, own, wanted in zip(chance, grid, expert, strict=True)])
        pure = [np.prod(p[np.arange(len(p)), maps(*p.shape)], -1) for p in chance]
        weight = functools.reduce(np.multiply.outer, pure)
        for by_policy, by_state in zip(losses(d, wrong), [1 - right.mean(0), 1 - right.prod(0)], strict=True):
            np.testing.assert_allclose((weight * by_policy).sum(), d @ by_state, rtol=1e-12)
        for own, wanted, probability in zip(grid, expert, right, strict=True):
            joint = np.zeros((own.max() + 1, actions))
            np.add.at(joint, (own, wanted), d)
            posterior = joint / np.maximum(joint.sum(1, keepdims=True), 1e-300)
            floor = -(joint * np.log(np.where(joint > 0, posterior, 1))).sum()
            assert -d @ np.log(probability) >= floor - 1e-12
            assert (floor > 1e-12) == (cost(d, wanted, own) > 1e-12)
            positive += floor > 1e-12
    assert positive > 50


def test_messages_suffice_exactly_if_they_tell_apart_what_asks_for_different_actions_of_the_hearer():
    """An agent's loss depends on its own messages only, and the team's is 0 where every agent's is: agent by agent, then."""
    rng, counts = np.random.default_rng(2), np.zeros(3, int)
    for _ in range(60):
        d, grid, expert, actions = random_game(rng, most_actions=2)
        words = int(rng.integers(2, 4)) if len(grid) == 2 else 2
        together = expert.T @ actions ** np.arange(len(grid))
        for agent, (own, wanted) in enumerate(zip(grid, expert, strict=True)):
            for protocol in maps(elsewhere(grid, agent).max() + 1, words):
                wrong = mistakes(wanted, heard(grid, agent, protocol, words), actions)
                perfect = not wrong[:, d > 0].any(1).all()
                message = protocol[elsewhere(grid, agent)]
                paper = separates(message, together, own, d)
                assert perfect == separates(message, wanted, own, d)
                assert perfect or not paper
                counts += [paper, perfect and not paper, not perfect]
    assert (counts > 300).all(), counts


# ------------------------------------------------------------------ the game of the page

DEPOT, FORK, LANE = range(3)
LAMPS, PLACES = ("green", "red"), ("depot", "fork", "lane")
DEEDS = (("wait", "winch"), ("on", "turn"))
GRID = np.indices((2, 3)).reshape(2, -1)
"""The lookout's lamp and the carrier's place; joint observation 3·lamp + place."""
EXPERT = np.array([[0, 0, 0, 0, 0, 1], [0, 0, 0, 0, 1, 1]])
S, T = 6, 20


def world() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Start [S], transitions [S 4 S] and expected rewards [S 4]; joint action 2·lookout + carrier."""
    depot, fork = np.array([0.9, 0, 0, 0.1, 0, 0]), np.array([0, 0.8, 0, 0, 0.2, 0])
    ahead, dead_end = np.eye(S)[LANE], np.eye(S)[3 + LANE]
    move, pay = np.zeros((S, 2, 2, S)), np.zeros((S, 2, 2))
    for lamp, winch, turn in itertools.product(range(2), repeat=3):
        move[3 * lamp + DEPOT, winch, turn] = depot if turn else fork
        right = 0.95 * (turn == lamp)
        move[3 * lamp + FORK, winch, turn] = right * (0.75 * depot + 0.25 * ahead) + (1 - right) * dead_end
        pay[3 * lamp + FORK, winch, turn] = 0.75 * right
        out = turn * (0.5 if winch else 0.25)
        move[LANE, winch, turn], move[3 + LANE, winch, turn] = depot, out * depot + (1 - out) * dead_end
        pay[LANE, winch, turn] = 1 - turn
    return depot, move.reshape(S, 4, S), pay.reshape(S, 4)


START, MOVE, PAY = world()
TEAMS = np.array([np.stack([a[GRID[0]], b[GRID[1]]]) for a in maps(2, 2) for b in maps(3, 2)])
"""What each of the 4 · 8 memoryless decentralised teams does, [32 M S]."""


def visits(team: np.ndarray) -> np.ndarray:
    """Distribution of the state at every step, [T S], of a team [M S]."""
    chain, d = MOVE[np.arange(S), 2 * team[0] + team[1]], [START]
    for _ in range(T - 1):
        d.append(d[-1] @ chain)
    return np.array(d)


def episode(team: np.ndarray) -> float:
    """Expected return."""
    return (visits(team) * PAY[np.arange(S), 2 * team[0] + team[1]]).sum()


def regrets() -> np.ndarray:
    """What each joint action loses against the expert if the expert goes on from there, [T S 4]."""
    value, out = np.zeros(S), []
    for _ in range(T):
        worth = PAY + MOVE @ value
        value = worth[np.arange(S), 2 * EXPERT[0] + EXPERT[1]]
        out.insert(0, value[:, None] - worth)
    return np.array(out)


def fitted(d: np.ndarray) -> np.ndarray:
    """Every agent's majority vote over the expert's labels, for each of its own observations."""
    team = []
    for own, wanted in zip(GRID, EXPERT, strict=True):
        votes = np.zeros((own.max() + 1, 2))
        np.add.at(votes, (own, wanted), d)
        team.append(votes.argmax(1)[own])
    return np.array(team)


def aggregated(team: np.ndarray, rounds: int) -> list[np.ndarray]:
    """DAgger: the team acts, the expert labels what it meets, everything so far is fitted again."""
    teams, data = [team], np.zeros(S)
    for _ in range(rounds):
        data = data + visits(teams[-1]).mean(0)
        teams.append(fitted(data))
    return teams


def loss(team: np.ndarray, d: np.ndarray) -> tuple[float, float]:
    """The agents' mean loss, and how often any errs."""
    return d @ (team != EXPERT).mean(0), d @ (team != EXPERT).any(0)


def own_loss(team: np.ndarray) -> tuple[float, float]:
    """Under the distribution that the team itself meets."""
    return loss(team, visits(team).mean(0))


CLONED = fitted(visits(EXPERT).mean(0))
STUDENTS = aggregated(CLONED, 30)[-1]
MET = visits(STUDENTS).mean(0)


def test_a_team_loses_at_most_u_t_times_how_often_it_errs():
    """R(π) ≥ R(π*) − u·T·P(any agent errs); without u, or with the agents' mean loss, that is wrong."""
    gaps, best = regrets(), episode(EXPERT)
    assert (PAY >= 0).all() and (PAY <= 1).all() and np.allclose(MOVE.sum(-1), 1)
    assert gaps.min() > -1e-12  # the expert is optimal, from everywhere
    short = []
    for team in TEAMS:
        lost = gaps[:, np.arange(S), 2 * team[0] + team[1]]
        np.testing.assert_allclose(best - episode(team), (visits(team) * lost).sum(), atol=1e-12)
        short.append([best - episode(team), *own_loss(team)])
    lost, mean, some = np.transpose(short)
    assert (lost <= gaps.max() * T * some).all()
    assert (lost > T * some).any() and (lost > gaps.max() * T * mean).any()


def test_aggregation_finds_the_least_loss_and_cloning_does_not():
    least = np.min([own_loss(team) for team in TEAMS], 0)
    np.testing.assert_allclose(own_loss(STUDENTS), least, rtol=1e-12)
    assert episode(STUDENTS) == max(episode(team) for team in TEAMS)
    for first in TEAMS:
        assert all((team == STUDENTS).all() for team in aggregated(first, 10)[2:])
    clones = loss(CLONED, visits(EXPERT).mean(0))[0]
    assert clones == min(loss(team, visits(EXPERT).mean(0))[0] for team in TEAMS)
    assert clones < own_loss(STUDENTS)[0] < own_loss(CLONED)[0] / 3
    stuck = [visits(team)[:, 3 + LANE].mean() for team in (EXPERT, CLONED)]
    assert stuck[0] < 0.05 and stuck[1] > 0.5


def mean_cost(d: np.ndarray) -> float:
    """The least mean loss of the agents without messages, by the formula."""
    return float(np.mean([cost(d, *agent) for agent in zip(EXPERT, GRID, strict=True)]))


def test_mu_is_the_cost_under_all_that_was_visited():
    """μ_N = C_p of the mean distribution ≥ the mean of the C_p; no constant but 0 is below it for all policies."""
    rng = np.random.default_rng(3)
    for _ in range(100):
        met = [visits(TEAMS[k]).mean(0) for k in rng.integers(len(TEAMS), size=rng.integers(1, 8))]
        mu = min(np.mean([loss(team, d)[0] for d in met]) for team in TEAMS)
        np.testing.assert_allclose(mu, mean_cost(np.mean(met, 0)), atol=1e-12)
        assert mu >= np.mean([mean_cost(d) for d in met]) - 1e-12
    stays = np.array([[0] * S, [1, 0, 0] * 2])
    assert mean_cost(visits(stays).mean(0)) < 1e-12 < 0.1 < mean_cost(MET)


def told(words: int) -> list[str]:
    """The row of the page's table of messages: every pair of protocols, every team that hears them."""
    together, counts, least = 2 * EXPERT[0] + EXPERT[1], np.zeros(4, int), []
    for protocols in itertools.product(maps(3, words), maps(2, words)):
        wrong = [mistakes(EXPERT[i], heard(GRID, i, protocols[i], words), 2) for i in range(2)]
        least.append(losses(MET, wrong)[0].min())
        message = [protocols[i][elsewhere(GRID, i)] for i in range(2)]
        paper, ours = (
            all(separates(message[i], label[i], GRID[i], MET) for i in range(2)) for label in ([together] * 2, EXPERT)
        )
        counts += [1, paper, ours, least[-1] == 0]
        assert ours == (least[-1] == 0) and ours >= paper
    return [str(words), *map(str, counts), f"{min(least):.3f}"]


def test_two_words_are_enough_where_the_papers_condition_asks_for_three():
    """The carrier is told the lamp, the lookout whether it is the lane: depot and fork, alike to the lookout, sound alike."""
    assert (MET > 0).all()
    where, lamp = np.array([0, 0, 1]), np.array([0, 1])
    views = [heard(GRID, 0, where, 2), heard(GRID, 1, lamp, 2)]
    mean, some = losses(MET, [mistakes(EXPERT[i], views[i], 2) for i in range(2)])
    assert mean.min() == some.min() == 0
    assert not separates(where[GRID[1]], 2 * EXPERT[0] + EXPERT[1], GRID[0], MET)
    for where in maps(3, 3):  # "apart" is all three, for the paper
        assert separates(where[GRID[1]], 2 * EXPERT[0] + EXPERT[1], GRID[0], MET) == (len(set(where)) == 3)


def late_loss() -> float:
    """The least mean loss of students that hear all that the other observed, one step late (nothing at first)."""
    chain, met = MOVE[np.arange(S), 2 * STUDENTS[0] + STUDENTS[1]], visits(STUDENTS)
    pairs = np.concatenate([START[None], met[:-1].sum(0)[:, None] * chain]) / T  # [before, now]; before 0: nothing
    before, now = np.indices(pairs.shape).reshape(2, -1)
    costs = []
    for i in range(2):
        other = np.concatenate([[3], GRID[1 - i]])[before]
        costs.append(cost(pairs.reshape(-1), EXPERT[i][now], 4 * GRID[i][now] + other))
    return float(np.mean(costs))


# ------------------------------------------------------------------ the page


def tables() -> list[list[list[str]]]:
    """The cells of every table below its heading."""
    found = re.findall(r"(?:^\|.*\n)+", PAGE.read_text(encoding="utf-8").replace("−", "-"), re.MULTILINE)
    cells = lambda line: [cell.strip() for cell in line.strip("|").split("|")]
    return [[cells(line) for line in table.splitlines()[2:]] for table in found]


def test_the_numbers_of_the_page():
    """Every one of its tables, and the numbers in its sentences."""
    deeds = [[", ".join(DEEDS[i][EXPERT[i][3 * k + p]] for i in range(2)) for p in range(3)] for k in range(2)]
    costs = []
    for name, d in (("the expert", visits(EXPERT).mean(0)), ("the students (aggregation, below)", MET)):
        each = [cost(d, EXPERT[i], GRID[i]) for i in range(2)]
        least = [x.min() for x in losses(d, [mistakes(EXPERT[i], GRID[i], 2) for i in range(2)])]
        costs.append([name, *(f"{x:.3f}" for x in (*each, *least))])
    u, teams = regrets().max(), []
    for name, team in (("expert", EXPERT), ("cloning", CLONED), ("aggregation", STUDENTS)):
        mean, some = own_loss(team)
        there = loss(team, visits(EXPERT).mean(0))[0]
        teams.append([name, *(f"{x:.3f}" for x in (there, mean, some, episode(team), episode(EXPERT) - u * T * some))])
    assert tables() == [
        [[lamp, *row] for lamp, row in zip(LAMPS, deeds, strict=True)],
        costs,
        [told(words) for words in (1, 2, 3)],
        teams,
    ]
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    lost = np.array([episode(EXPERT) - episode(team) for team in TEAMS])
    mean, some = np.transpose([own_loss(team) for team in TEAMS])
    for said in (
        f"T = {T} steps",
        f"u = {u:.3f}.",
        f"the {len(TEAMS)} teams",
        f"up to {(lost / (T * some)).max():.3f} · T · P(any errs)",
        f"up to {(lost / (u * T * mean)).max():.3f} · u · T · mean loss",
        f"one step late, the least mean loss is {late_loss():.3f}.",
    ):
        assert said in text, said
    assert CLONED.any() == 0 and np.array_equal(STUDENTS, [GRID[0], GRID[1] == LANE])
