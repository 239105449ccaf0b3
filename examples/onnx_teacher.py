"""An expert in an ONNX file teaches an agent to steer to its landmark.

The expert is a steering rule, written by the package onnx; a network of another program is used likewise. A student that
imitates it (DAgger) and one that learns from rewards beside it (KnowRU) stand beside one without a teacher.

pip install 'headstart[onnx]'
python -m examples.onnx_teacher
"""

from pathlib import Path

import numpy as np

import headstart as hs
from examples.with_and_without import students, tell

ENV = hs.Spread(agents=1, observe="cesma")
STUDENT = hs.PPO(num_envs=16, rollout=25, lr=1e-3)
IMITATOR = hs.Imitator(hidden=(64,), num_envs=16, warmup=400, train_every=400, gradient_steps=64, batch=128)


def write(path: Path) -> None:
    """Write an ONNX model of observations [N O] -> logits [N 5]: to the agent's landmark, braking on the way."""
    from onnx import TensorProto, helper, numpy_helper

    role = ENV.spec.roles["agent"]
    options = role.actions.options[0]
    weight = np.zeros((role.obs_size, 5), np.float32)
    for axis, (forward, back) in enumerate([("right", "left"), ("up", "down")]):
        for option, sign in ((forward, 1.0), (back, -1.0)):
            weight[axis, options.index(option)] = -0.5 * sign  # velocity
            weight[2 + axis, options.index(option)] = sign  # the way to the landmark
    numbers = lambda name, *shape: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    product = helper.make_node("MatMul", ["obs", "weight"], ["logits"])
    shapes = [numbers("obs", "N", role.obs_size)], [numbers("logits", "N", 5)]
    graph = helper.make_graph([product], "steering", *shapes, [numpy_helper.from_array(10 * weight, "weight")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())


def main(out: str = "runs/onnx", steps: int = 8_000, episodes: int = 100, **settings):
    """Write the expert and train the three students; prints and returns {name: mean return at the end}."""
    path = Path(out) / "expert.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path)
    teacher = hs.load_teacher(path, ENV.spec)
    found = {"expert": float(hs.record(teacher, ENV, episodes=episodes).returns["agent"].mean())}
    settings |= {"steps": steps, "episodes": episodes}
    return tell(found | students(ENV, teacher, STUDENT, IMITATOR, path.parent, **settings))


if __name__ == "__main__":
    main()
