"""GAIL for teams: each agent earns a reward for visiting what its own demonstrator visited.

Wang et al. 2022, "Decentralized Multi-Agent Reinforcement Learning via Distribution Matching" (DM²), Algorithm 1; Ho and Ermon
2016, "Generative Adversarial Imitation Learning". Before the learner learns, agent k's discriminator learns to tell the
demonstrations of agent k from what agent k has just done. Then the reward is

    r_k = r_env + c·log(D_k/(1 − D_k))                                                          (eq. 3 of the paper)

with D_k near 1 on demonstrations. The paper writes D_k there and its public code pays the logit above, which is the default.
A learner that replays asks for rewards with each batch, so that no discriminator of an earlier update pays.

A reward of one sign favours long or short episodes, even if the agents' behaviour is right: −log(1 − D) is never negative and
favours survival, log D is never positive and favours an early end (Kostrikov et al. 2019, "Discriminator-Actor-Critic"). The
logit has both signs, which lessens the bias and does not remove it.

An agent that has died is in a state of its own, of which zeros are shown until its team's episode ends (the absorbing state of
that paper). If its learner counts what it is paid then, discriminators compare and pay it there as anywhere else, by how often
its demonstrator had died. Otherwise an agent whose discriminator pays less than nothing would be better off dead.
"""

from collections.abc import Iterable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, PyTree

from headstart.core.actions import greedy
from headstart.core.checks import HeadstartError, check_known
from headstart.core.guidance import Guidance, TeacherLike
from headstart.core.learner import Learner
from headstart.core.ops import shown
from headstart.core.optimisers import per_team
from headstart.core.part import part
from headstart.core.ranges import Count, NonNegative, Positive, Sizes
from headstart.core.types import Continuous, TeamSpec, Transition
from headstart.guidance.discriminator import Form, Nets, discriminators, learn, logits, paid
from headstart.guidance.samples import Rows, by_agent, rows
from headstart.teams.demos import Demos, demos_for


@part("guidance")
class Gail:
    """GAIL for teams (DM²): a discriminator for each agent rewards it for resembling its own demonstrator."""

    teacher: TeacherLike = None
    """Demonstrations: a directory of `headstart record`, or a `Demos`."""
    coefficient: NonNegative = 0.3
    """c, the factor on the discriminators' reward."""
    env_reward: bool = True
    """Whether the environment's reward is a part of the reward; without it, agents only imitate."""
    reward: Form = "logit"
    """What agents earn: log D − log(1 − D) (logit), log D (log) or −log(1 − D) (softplus)."""
    inputs: Literal["obs", "obs-action"] = "obs"
    """What is compared: observations, or observations with the actions that followed."""
    ends: Literal["allow", "refuse"] = "allow"
    """Learn from demonstrations of any length, though rewards may then favour long or short episodes, or refuse those in
    which some agent is there, alive or dead and compared, for more steps than in another."""
    absorbing: bool = True
    """Compare the dead as well, who show zeros until their episode ends, and pay them, if the learner counts what they are paid
    (`after_death`) and the demonstrations say who died. Otherwise they are left out and paid nothing."""
    roles: tuple[str, ...] = ()
    """Roles to reward; if empty, all. The others learn as without guidance."""
    hidden: Sizes = (64, 64)
    """Units of a discriminator's hidden layers, with tanh."""
    penalty: NonNegative = 10.0
    """Factor on the gradient penalty."""
    lr: Positive = 1e-3
    """Learning rate of the discriminators' Adam."""
    steps: Count = 32
    """Gradient steps of the discriminators in each update."""
    batch: Count = 256
    """Env-steps in a batch, of the demonstrations and of the newest rollout."""

    def make(self, spec: TeamSpec, learner: Learner) -> Guidance:
        """Guidance whose state is the discriminators and their optimiser's, and whose data are {role: Rows}.

        Raises HeadstartError for demonstrations that are of another team, too few, or without actions that are asked for.
        """
        demos = demos_for("gail", self.teacher, spec, actions=self.inputs == "obs-action")
        absorbing = self.absorbing and learner.dead_count and demos.dead is not None
        counted = lambda now: now.present if absorbing else now.alive
        self._check(demos, spec, absorbing)
        data = self._data(demos, spec, absorbing)
        sizes = {role: (x.shape[0], x.shape[2]) for role, (x, _) in data.items()}
        optimizer = per_team({"discriminator": optax.adam(self.lr)})

        def init(key, seed):
            nets: PyTree = {"discriminator": discriminators(key, sizes, self.hidden)}
            return nets["discriminator"], optimizer.init(nets)

        def observe(g, params, key, rollout, clock, data):
            there = counted(rollout)
            samples = {role: by_agent(data[role], x, there[role]) for role, x in self._seen(spec, sizes, rollout).items()}
            g, metrics = learn(optimizer, g, key, samples, self.steps, self.batch, self.penalty)
            learned = rollout.present if learner.dead_count else rollout.alive
            given = {role: jnp.where(x, rollout.reward[role], 0.0) for role, x in learned.items()}
            share = _share(given, self._earned(spec, g[0], rollout, there), self.env_reward)
            return g, rollout, metrics | {"reward_share": share}

        def reward(g, now):
            earned = self._earned(spec, g[0], now, counted(now))
            own = {role: x if self.env_reward or role not in earned else jnp.zeros_like(x) for role, x in now.reward.items()}
            return {role: x + earned[role] if role in earned else x for role, x in own.items()}

        return Guidance(init=init, observe=observe, reward=reward, data=data)

    def _check(self, demos: Demos, spec: TeamSpec, absorbing: bool) -> None:
        """Raise HeadstartError for demonstrations and roles that do not fit the settings."""
        for role in self.roles:
            check_known("role", role, spec.roles)
        lived = np.concatenate([_counted(demos, role, absorbing).sum(1).reshape(-1) for role in demos.alive])
        if self.ends == "refuse" and (lived != lived[0]).any():
            raise HeadstartError(
                f"agents are there for {lived.min()} to {lived.max()} env-steps in the demonstrations, so that rewards may "
                "favour long or short episodes: --guidance.ends allow accepts that"
            )

    def _data(self, demos: Demos, spec: TeamSpec, absorbing: bool) -> dict[str, Rows]:
        """Each agent's demonstrated samples; HeadstartError if an agent has fewer than a batch."""
        found, names = {}, spec.names
        for role in self.roles or spec.roles:
            with jax.ensure_compile_time_eval():  # a sweep's program makes guidance inside its trace
                action = None if demos.actions is None else jnp.asarray(demos.actions[role])
                seen = {role: self._inputs(spec, role, jnp.asarray(demos.obs[role]), action)}
                seen = shown(seen, {role: jnp.asarray(demos.alive[role])})[role]
                found[role] = rows(np.asarray(seen), _counted(demos, role, absorbing))
                counts = found[role].count.tolist()
            if (fewest := min(counts)) < self.batch:
                raise HeadstartError(
                    f"the demonstrations have {fewest} env-steps of {names[role][counts.index(fewest)]}, fewer than a batch "
                    f"({self.batch}): record more episodes, or lower guidance.batch"
                )
        return found

    def _seen(self, spec: TeamSpec, roles: Iterable[str], now: Transition) -> dict[str, Array]:
        """{role: [*n A X]}: what discriminators see of transitions, zeros for the dead."""
        return shown({role: self._inputs(spec, role, now.obs[role], now.action[role]) for role in roles}, now.alive)

    def _inputs(self, spec: TeamSpec, role: str, obs: Array, action: Any) -> Array:
        """[*n A X]: the numbers that are compared. Actions count as the environment reads them: a choice, or clipped."""
        if self.inputs == "obs-action":
            space = spec.roles[role].actions
            action = jnp.clip(action, -1, 1) if isinstance(space, Continuous) else greedy(space, action)
            obs = jnp.concatenate([obs, action], -1)
        return obs

    def _earned(self, spec: TeamSpec, nets: Nets, now: Transition, counted: dict[str, Array]) -> dict[str, Array]:
        """{role: [*n A]}: c times the discriminators' reward; 0 for agents that are not `counted`."""
        found = jax.lax.stop_gradient(logits(nets, self._seen(spec, nets, now)))
        return {role: jnp.where(counted[role], self.coefficient * paid(self.reward, x), 0.0) for role, x in found.items()}


def _counted(demos: Demos, role: str, absorbing: bool) -> np.ndarray:
    """[M T A] bool: the demonstrated env-steps of living agents, and if `absorbing` those after their death as well."""
    return demos.alive[role] | demos.dead[role] if absorbing and demos.dead else demos.alive[role]


def _share(given: dict[str, Array], earned: dict[str, Array], env_reward: bool) -> Array:
    """What the discriminators pay as a share of the sizes of all rewards, those `given` by the environment too; 0 if nobody
    earns anything."""
    size = lambda rewards: sum(jnp.abs(rewards[role]).sum() for role in earned)
    own = size(earned)
    whole = own + size(given) if env_reward else own
    return own / jnp.where(whole > 0, whole, 1.0)


PRESETS = {"gail": Gail(), "dm2": Gail()}
"""Names on the command line, and the settings each starts from."""
