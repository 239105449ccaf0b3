"""The rules of Walker2d and Humanoid in their versions: what a step pays, what is seen, and what a fall is."""

from typing import NamedTuple

from headstart.core.checks import HeadstartError, check_known, require

Range = tuple[float, float]


class Task(NamedTuple):
    """A body and its rules, as Gymnasium's environment of the same id has them."""

    name: str
    version: int
    model: str
    """File among Gymnasium's models."""
    frames: int
    """Steps of the physics in an env-step."""
    forward: float
    """Reward of a metre a second along x."""
    alive: float
    """Reward of an env-step without a fall."""
    control: float
    """Cost of a squared control."""
    noise: float
    """Largest change of each initial position and velocity."""
    hidden: int
    """First positions that are not observed: x, or x and y."""
    height: int
    """Index of the height among the positions, in metres."""
    healthy_z: Range
    """Heights between which a body has not fallen."""
    healthy_angle: Range | None
    """The same of its angle, the position after the height, in radians; None if it does not matter."""
    fastest: float
    """Velocities are observed up to this size."""
    whole: bool
    """Whether inertias, velocities and forces of the parts are observed too, and x is that of the centre of mass."""

    @property
    def contacts(self) -> bool:
        """Whether contact forces are computed: those of v3 are 0, as MuJoCo computes them on request only since 2.0."""
        return self.whole and self.version >= 4

    @property
    def contact_cost(self) -> float:
        """Cost of a squared contact force, at most 10 in all; v4 has left it out, and v3 multiplies it with zeros."""
        return 5e-7 if self.whole and self.version == 5 else 0.0

    @property
    def paid_as_it_falls(self) -> bool:
        """Whether the env-step of a fall earns the reward of one without."""
        return self.version < 5

    @property
    def first_part(self) -> int:
        """The first part of the body that is observed: v3 and v4 observe the world, whose numbers are constant, as part 0."""
        return 1 if self.version == 5 else 0

    @property
    def first_force(self) -> int:
        """The first joint force that is observed: v5 leaves out those of the free joint, on which no actuator acts."""
        return 6 if self.version == 5 else 0


TASKS = {
    "Walker2d": Task("Walker2d", 3, "walker2d.xml", 4, 1.0, 1.0, 1e-3, 5e-3, 1, 1, (0.8, 2.0), (-1.0, 1.0), 10.0, False),
    "Humanoid": Task("Humanoid", 3, "humanoid.xml", 5, 1.25, 5.0, 0.1, 1e-2, 2, 2, (1.0, 2.0), None, float("inf"), True),
}
VERSIONS = (3, 4, 5)
IDS = tuple(f"{name}-v{version}" for name in TASKS for version in VERSIONS)


def task_of(id: str, healthy_z: Range | None = None, healthy_angle: Range | None = None) -> Task:
    """The rules of an id such as "Walker2d-v3", with other healthy ranges if given; HeadstartError if the id has no rules."""
    check_known("MuJoCo environment", id, IDS)
    name, _, version = id.rpartition("-v")
    task = TASKS[name]._replace(version=int(version))
    if task == TASKS["Walker2d"]._replace(version=5):
        task = task._replace(model="walker2d_v5.xml")
    for setting, given in (("healthy_z", healthy_z), ("healthy_angle", healthy_angle)):
        if given is not None:
            require(given[0] < given[1], f"env.{setting}", given, "two numbers, the lower one first")
    if healthy_angle is not None and task.healthy_angle is None:
        raise HeadstartError(f"env.healthy_angle is for Walker2d: {id} falls by its height alone (env.healthy_z)")
    return task._replace(healthy_z=healthy_z or task.healthy_z, healthy_angle=healthy_angle or task.healthy_angle)
