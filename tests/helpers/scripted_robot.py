"""A robot that does as a script says: a cart whose joints report the number of the frame."""

import dataclasses
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np

from worldmodel.reality import measurement
from worldmodel.scene import load_scene
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Episode, Goal, Measurement, Start

HZ = 10.0


class Cart(Task):
    """An action is a force, within ± 50 N."""

    horizon = 9

    def __init__(self) -> None:
        self.scene = load_scene(
            """<mujoco model="cart"><worldbody><body>
            <joint name="x" type="slide" axis="1 0 0"/><joint name="y" type="slide" axis="0 1 0"/>
            <geom size=".1"/></body></worldbody>
            <actuator><motor name="push" joint="x" ctrlrange="-50 50"/></actuator></mujoco>""",
            control_hz=HZ,
            substeps=1,
        )

    def command(self, measured: Measurement, action: Array, goal: Goal) -> Array:
        return action

    def action(self, measured: Measurement, ctrl: Array, goal: Goal) -> Array:
        return ctrl

    def success(self, episode: Episode) -> bool | None:
        return None


CART = Cart()


@dataclasses.dataclass
class ScriptedRobot:
    """Reports frame k as (k, 2 k), and calls ``at[k]`` before it answers for that frame."""

    at: dict[int, Callable[[], Measurement | None]] = dataclasses.field(default_factory=dict)
    max_rate: np.ndarray = dataclasses.field(default_factory=lambda: np.array([np.inf]))
    control_hz = HZ
    names = CART.sensors
    frame = -1
    seconds = 0.0  # of its own clock
    took = 1.0 / HZ  # [s] a step
    played = 0
    calls: list[str] = dataclasses.field(default_factory=list)
    sent: list[float] = dataclasses.field(default_factory=list)

    def connect(self) -> None:
        self.calls.append("connect")

    def reset(self, start: Start) -> Measurement:
        self.calls.append("reset")
        self.played, self.frame = self.played + 1, -1
        return self.measure()

    def step(self, ctrl: np.ndarray) -> Measurement:
        self.sent.append(float(ctrl[0]))
        self.seconds += self.took
        return self.measure()

    def measure(self) -> Measurement:
        self.frame += 1
        answer = self.at.get(self.frame, lambda: None)()
        return answer or measurement(self.names, [self.frame, 2.0 * self.frame])

    def clock(self) -> float:
        return self.seconds

    def stop(self) -> None:
        self.calls.append("stop")

    def close(self) -> None:
        self.calls.append("close")


@dataclasses.dataclass(frozen=True)
class Person:
    """A policy in Python that commands 10 N more in every step."""

    commands: Callable[[int], Array] = lambda t: jnp.array([10.0 + t])
    traceable = False

    def init(self, observation: Array, key: Array) -> int:
        return 0

    def act(self, carry: int, observation: Array, key: Array) -> tuple[Array, int]:
        assert observation[0] == carry  # the last measurement
        return self.commands(carry), carry + 1
