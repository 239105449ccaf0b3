"""Train the networks of architectures, small, on the digits of scikit-learn: 1797 images of 8 × 8 grey dots.

Every layer has `WIDTH` channels and the image's size. Layer 0 is a 3 × 3 convolution of the image. A convolution is normalised
over each image and followed by a ReLU; `concat` brings its two inputs back to `WIDTH` channels by a 1 × 1 convolution. The
terminal layer reads the means over the image's quarters.

A layer's operation is a number that the program reads, and not a part of the program: one program trains all networks.
N images, C channels, I channels that a convolution reads, P dots of a window, L layers.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import jax.random as jr
import numpy as np
import optax
from jaxtyping import Array, Float, Int, Key, PyTree

from headstart.envs.architecture.operations import BACK, FARTHEST, OPERATIONS

WIDTH = 8
GROUPS = {"conv": 1, "gconv": 4, "dwconv": WIDTH}
"""Groups of the channels: a channel of a convolution reads the channels of its own group."""
KINDS = ("conv1", "conv3", "conv5", "max3", "avg3", "identity", "add", "concat")
"""What a layer computes; grouped convolutions are convolutions of which some weights are 0."""
WINDOW = 5
BATCH = 64
RATE = 1e-2
"""Peak learning rate of Adam, which rises in the first tenth of the steps and falls by a cosine."""
CLASSES = 10


class Images(NamedTuple):
    """Images with values in [0, 1], and their classes."""

    x: Float[np.ndarray, "N 8 8 1"]
    y: Int[np.ndarray, " N"]


def load() -> tuple[Images, Images]:
    """Training and test images: four fifths and one fifth of all, always the same. Needs scikit-learn."""
    from sklearn.datasets import load_digits  # pyright: ignore[reportMissingImports]

    x, y = map(np.asarray, load_digits(return_X_y=True))
    order = np.random.default_rng(0).permutation(len(x))
    all_of = lambda at: Images((x[at] / 16).astype(np.float32).reshape(-1, 8, 8, 1), y[at].astype(np.int32))
    cut = len(x) * 4 // 5
    return all_of(order[:cut]), all_of(order[cut:])


def accuracies(networks: Int[np.ndarray, "M L"], epochs: int, data: tuple[Images, Images]) -> list[float]:
    """Share of the test images that each of M networks tells rightly after training.

    networks: the numbers of their layers' operations; from `terminal` on, or from -1, there are no more layers.
    """
    train, test = data
    x, y = jnp.asarray(train.x), jnp.asarray(train.y)
    batch = min(BATCH, len(train.y))
    each = len(train.y) // batch
    schedule = optax.warmup_cosine_decay_schedule(0.0, RATE, max(1, epochs * each // 10), epochs * each)
    optimizer = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(schedule))

    def trained(operations):
        def loss(params, at):
            logits = network(operations, params, x[at])
            return optax.softmax_cross_entropy_with_integer_labels(logits, y[at]).mean()

        def step(state, at):
            params, opt = state
            updates, opt = optimizer.update(jax.grad(loss)(params, at), opt, params)
            return (optax.apply_updates(params, updates), opt), None

        start, order = jr.split(jr.key(0))
        params = weights(len(operations), start)
        shuffled = jax.vmap(lambda key: jr.permutation(key, len(train.y)))(jr.split(order, epochs))
        drawn = shuffled[:, : each * batch].reshape(-1, batch)
        (params, _), _ = jax.lax.scan(step, (params, optimizer.init(params)), drawn)
        return (network(operations, params, jnp.asarray(test.x)).argmax(-1) == jnp.asarray(test.y)).mean()

    return np.asarray(jax.jit(lambda all: jax.lax.map(trained, all))(jnp.asarray(networks))).tolist()


def weights(layers: int, key: Key[Array, ""]) -> PyTree:
    """New parameters of layer 0, of L layers with any operations, and of the terminal layer."""
    keys, plain = jr.split(key, 4), {"scale": jnp.ones(WIDTH), "offset": jnp.zeros(WIDTH)}
    of_each = jax.tree.map(lambda x: jnp.broadcast_to(x, (layers, *x.shape)), plain)
    window = WINDOW * WINDOW
    return {
        "first": plain | {"weight": jr.normal(keys[0], (window, 1, WIDTH))},
        "layers": of_each
        | {
            "weight": jr.normal(keys[1], (layers, window, WIDTH, WIDTH)),
            "join": jr.normal(keys[2], (layers, 1, 2 * WIDTH, WIDTH)),
        },
        "last": {"weight": jr.normal(keys[3], (4 * WIDTH, CLASSES)) / np.sqrt(4 * WIDTH), "bias": jnp.zeros(CLASSES)},
    }


def network(operations: Int[Array, " L"], params: PyTree, x: Float[Array, "N 8 8 1"]) -> Float[Array, "N 10"]:
    """Logits of the classes."""
    ended = jnp.cumsum((operations < 0) | (operations == OPERATIONS.index("terminal"))) > 0
    operations = jnp.where(ended, OPERATIONS.index("identity"), operations)
    first = _convolved(params["first"], params["first"]["weight"] * _kept("conv3", 1), x, 3)

    def layer(recent, now):
        number, own = now
        kind = jnp.asarray([KINDS.index(_kind(name)) for name in OPERATIONS])[number]
        other = recent[jnp.asarray(BACK)[number] - 1]
        made = jax.lax.switch(kind, _layers(number, own), recent[0], other)
        return jnp.concatenate([made[None], recent[:-1]]), None

    recent, _ = jax.lax.scan(layer, jnp.broadcast_to(first, (FARTHEST, *first.shape)), (operations, params["layers"]))
    means = recent[0].reshape(len(x), 2, 4, 2, 4, WIDTH).mean((2, 4)).reshape(len(x), -1)
    return means @ params["last"]["weight"] + params["last"]["bias"][None]


def _kind(name: str) -> str:
    """Which of `KINDS` an operation is; `terminal` is none, and is never asked for."""
    kind = name.removeprefix("g").removeprefix("dw").partition("-")[0]
    return kind if kind in KINDS else "identity"


def _layers(number: Int[Array, ""], own: PyTree) -> list[Callable[[Array, Array], Array]]:
    """For each of `KINDS`: what the layer before and another one [N 8 8 C] become."""
    weight = own["weight"] * jnp.asarray(np.stack([_kept(name, WIDTH) for name in OPERATIONS]))[number]
    joined = lambda x, other: _convolved(own, own["join"] / np.sqrt(WIDTH), jnp.concatenate([x, other], -1), 1)
    return [
        *(lambda x, other, kernel=kernel: _convolved(own, weight, x, kernel) for kernel in (1, 3, 5)),
        lambda x, other: _seen(x, 3).max(-2),
        lambda x, other: _seen(x, 3).mean(-2),
        lambda x, other: x,
        lambda x, other: x + other,
        joined,
    ]


def _dots(kernel: int) -> np.ndarray:
    """The places in a window of those dots that a kernel of K × K reads."""
    reach = np.abs(np.arange(WINDOW) - WINDOW // 2) <= kernel // 2
    return np.flatnonzero(reach[:, None] & reach[None])


def _kept(name: str, inputs: int) -> Float[np.ndarray, "P inputs C"]:
    """Factors of a convolution's weights: 0 of those that it does not have, else He's deviation of initial weights."""
    kind, out = name.rstrip("-0123456789"), np.zeros((WINDOW * WINDOW, inputs, WIDTH), np.float32)
    if kind not in GROUPS:
        return out
    group = lambda count: np.arange(count) * GROUPS[kind] // count
    out[_dots(int(name[-1]))] = group(inputs)[:, None] == group(WIDTH)[None]
    return out * np.sqrt(2 / out.sum((0, 1))).astype(np.float32)


def _seen(x: Float[Array, "N 8 8 I"], kernel: int) -> Float[Array, "N 8 8 P I"]:
    """What windows of K × K dots around all dots show; beyond the image are the dots at its edge."""
    reach, (high, wide) = kernel // 2, x.shape[1:3]
    padded = jnp.pad(x, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="edge")
    return jnp.stack([padded[:, i : i + high, j : j + wide] for i in range(kernel) for j in range(kernel)], -2)


def _convolved(own: PyTree, weight: Float[Array, "P I C"], x: Float[Array, "N 8 8 I"], kernel: int) -> Float[Array, "N 8 8 C"]:
    """A convolution as one matrix product, whose gradient takes less time on a CPU; normalised over each image; and a ReLU."""
    weight = weight[_dots(kernel)] if len(weight) > 1 else weight
    seen = _seen(x, kernel)
    x = (seen.reshape(-1, seen.shape[-2] * seen.shape[-1]) @ weight.reshape(-1, WIDTH)).reshape(*x.shape[:3], WIDTH)
    x = (x - x.mean((1, 2, 3), keepdims=True)) / jnp.sqrt(x.var((1, 2, 3), keepdims=True) + 1e-5)
    return jax.nn.relu(x * own["scale"][None, None, None] + own["offset"][None, None, None])
