"""Messages from one network to another, as numbers that gradients flow through."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from headstart.core.checks import HeadstartError
from headstart.core.spec import Discrete, Route, TeamSpec


def words(spec: TeamSpec, route: Route, logits: dict[str, Array]) -> Float[Array, "*n A C"]:
    """The soft message of each agent of the speaking role on a route: the softmax of its message head."""
    space = spec.roles[route.speaker].actions
    if not isinstance(space, Discrete):
        raise HeadstartError(f"the role {route.speaker} speaks by continuous actions: only choices of words can be learned")
    start = sum(space.heads[: route.head])
    return jax.nn.softmax(logits[route.speaker][..., start : start + space.heads[route.head]], -1)


def hear(
    spec: TeamSpec, obs: dict[str, Float[Array, "*n _ _"]], said: dict[Route, Float[Array, "*n _ _"]]
) -> dict[str, Float[Array, "*n _ _"]]:
    """The observations {role: [*n A O]} with each route's field replaced by its messages `said` {route: [*n A C]}."""
    out = dict(obs)
    for route, message in said.items():
        listener = spec.roles[route.listener]
        starts = np.cumsum([0, *(field.width for field in listener.obs)])
        at = next(i for i, field in enumerate(listener.obs) if field.name == route.field)
        heard = _heard(message, listener.agents, same=route.speaker == route.listener)
        before, after = out[route.listener][..., : starts[at]], out[route.listener][..., starts[at + 1] :]
        if heard.shape[-1] != listener.obs[at].width:
            raise HeadstartError(
                f"the field '{route.field}' of role {route.listener} has {listener.obs[at].width} numbers and its messages "
                f"from role {route.speaker} have {heard.shape[-1]}"
            )
        out[route.listener] = jnp.concatenate([before, heard, after], -1)
    return out


def _heard(message: Float[Array, "*n A C"], listeners: int, same: bool) -> Float[Array, "*n L _"]:
    """Every listener's messages side by side; if speakers and listeners are the same agents, without its own message."""
    speakers = message.shape[-2]
    hears = [[j for j in range(speakers) if not (same and j == i)] for i in range(listeners)]
    return jnp.stack([jnp.concatenate([message[..., j, :] for j in row], -1) for row in hears], -2)


def listeners(spec: TeamSpec, speaker: str) -> int:
    """How many agents hear an agent of a role, over all routes; an agent that hears it twice counts twice."""
    routes = [route for route in spec.messages if route.speaker == speaker]
    return sum(spec.roles[route.listener].agents - (route.listener == speaker) for route in routes)
