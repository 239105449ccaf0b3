"""The operations that a layer may have, and the expert's architecture, in plain Python.

The numbers of the layers start at 1, and layer 0 is the network's input. Every layer reads the layer before it. `add-k` and
`concat-k` also read the layer k before their own one: `add-4` in layer 8 adds layer 4 to layer 7.
"""

from typing import Literal

Choice = Literal["full", "reduced"]

OPERATIONS = (
    "conv1", "conv3", "conv5", "gconv3", "gconv5", "dwconv3", "max3", "avg3", "identity",
    "add-2", "add-3", "add-4", "concat-2", "concat-4", "terminal",
)  # fmt: skip
"""Convolutions, grouped (g) and depth-wise (dw) ones, and pooling, each with its kernel's width; `terminal` is last."""
LEFT_OUT = ("conv5", "gconv5", "avg3", "concat-4")
"""What the reduced choice does not have."""
TERMINAL = OPERATIONS.index("terminal")
BLOCK = ("conv1", "gconv3", "conv1", "add-4")
"""ResNeXt's bottleneck block (Xie et al. 2017, "Aggregated Residual Transformations for Deep Neural Networks")."""


def back(operation: str) -> int:
    """How many layers before its own one an operation reads beside the one before; 1 if it reads no other."""
    joins = operation.startswith(("add", "concat"))
    return int(operation.partition("-")[2]) if joins else 1


BACK = tuple(map(back, OPERATIONS))
FARTHEST = max(BACK)


def chosen_from(choice: Choice) -> tuple[int, ...]:
    """The numbers of the operations that may be chosen."""
    return tuple(i for i, name in enumerate(OPERATIONS) if choice == "full" or name not in LEFT_OUT)


def expert_operations(layers: int) -> tuple[int, ...]:
    """[layers + 1] numbers: the operations of ResNeXt's blocks, as many as fit, and from there on the terminal one."""
    blocks = [OPERATIONS.index(name) for name in BLOCK * (layers // len(BLOCK))]
    return (*blocks, *[TERMINAL] * (layers + 1 - len(blocks)))
