"""Any LeRobot robot as a ``Robot``, and any of its teleoperators as an ``Operator``: their ten
members, through the columns that read the robot's logs.

Of a column such as "observation.state.elbow.pos" or "action[2]" the robot has the feature
"elbow.pos", or the third number among its action features. The package itself is not imported.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from worldmodel.episodes.columns import Columns, ColumnsError
from worldmodel.episodes.signals import Drive, layout
from worldmodel.reality.robot import RobotError, Ticks, measurement
from worldmodel.reality.safety import Nobody
from worldmodel.runtime import log
from worldmodel.tasks import sensors
from worldmodel.tasks.task import Task
from worldmodel.types import Array, Measurement, Names, Start

Camera = Callable[[], Mapping[str, Array | None]]  # body → position and quaternion wxyz, or unseen

INTERVENTION = "is_intervention"  # LeRobot's event


class LeRobotRobot:
    """A ``Robot`` that is driven through LeRobot.

    Args:
      robot: of LeRobot, such as an ``SO101Follower``; calibrated.
      task: what it is asked to do; its position servos put the joints in place.
      columns: of the robot's logs: which feature is which joint and actuator, in which unit.
      camera: where the task's objects are; they are not seen when absent.
      place: called with the start before the robot moves there: a person puts the objects in place.
      constant: values of action features that no actuator commands.
      speed: with which joints move to a start [rad/s, m/s].
      tolerance: how far from the start they may come to rest [rad, m].
      max_rate: (nu,) of commands [their unit/s]; no limit when absent.

    Raises:
      ColumnsError: columns that do not fit the MJCF, or name a feature that the robot lacks.
    """

    def __init__(
        self,
        robot: Any,
        task: Task,
        columns: Columns,
        *,
        camera: Camera | None = None,
        place: Callable[[Start], None] = lambda start: None,
        constant: Mapping[str, float] | None = None,
        speed: float = 0.5,
        tolerance: float = 0.05,
        max_rate: np.ndarray | None = None,
    ) -> None:
        scene, wanted = task.scene, task.sensors
        self._robot, self._scene, self._camera, self._place = robot, scene, camera, place
        self._speed, self._tolerance = speed, tolerance
        signals, drives = layout(columns, scene.mj_model)
        measured = {s.joint: s for s in signals if s.columns and s.kind in ("hinge", "slide")}
        self.names = Names(
            joints=tuple(name for name in wanted.joints if name in measured),
            objects=wanted.objects if camera else (),
            touch=(),
            actuators=tuple(drive.name for drive in drives),
        )
        used = [measured[name] for name in self.names.joints]
        numbers = _numbers(robot.observation_features)
        self._read = [_feature(s.columns[0], "observation.state", numbers) for s in used]
        self._factor = np.array([s.factor for s in used])
        self._shift = np.array([s.shift for s in used])
        self._delay = np.array([s.delay for s in used])
        numbers = _numbers(robot.action_features)
        self._sent = _commanded(drives, numbers)
        self._constant = dict(constant or {})
        open_features = [n for n in numbers if n not in self._sent and n not in self._constant]
        if open_features:
            raise ColumnsError(
                f"no actuator commands the robot's action features {open_features}; give the "
                "columns of their actuators, or their 'constant' values"
            )
        self.control_hz = scene.control_hz
        self.max_rate = np.full(len(drives), np.inf) if max_rate is None else np.asarray(max_rate)
        self._ticks = Ticks(self.control_hz)
        self._seen = dict.fromkeys(self.names.objects, -math.inf)  # [s] when each was last seen

    def connect(self) -> None:
        """Opens the robot; nothing moves.

        Raises:
          RobotError: it is not calibrated.
        """
        _connect(self._robot, "robot")

    def reset(self, start: Start) -> Measurement:
        """The joints move to the start in a straight line, and rest there.

        Raises:
          RobotError: a joint that does not arrive.
        """
        self._place(start)
        qpos = np.asarray(start.qpos, float)
        goal = np.asarray(sensors.holding(self._scene, qpos), float)
        origin = self._holding(self.measure())
        steps = math.ceil(np.abs(goal - origin).max(initial=0.0) / self._speed * self.control_hz)
        self._ticks.begin()
        for part in np.linspace(0.0, 1.0, steps + 1)[1:]:
            self.step(origin + part * (goal - origin))
        for _ in range(math.ceil(0.5 * self.control_hz)):  # comes to rest
            self.step(goal)
        self._ticks.begin()  # the first command of the episode acts for a whole period
        sensed = self.measure()
        wanted = qpos[sensors.places(self._scene, self.names).joints]
        away = np.abs(sensed.joints - wanted)
        if (away > self._tolerance).any():
            joint = int(np.argmax(away))
            self.stop()
            raise RobotError(
                f"joint '{self.names.joints[joint]}' rests {away[joint]:.3g} from the start, "
                f"{wanted[joint]:.3g}; free it, or give a larger tolerance"
            )
        return sensed

    def step(self, ctrl: np.ndarray) -> Measurement:
        """Sends a command, waits for the tick, and measures; what the robot has sent counts."""
        applied = self._send(np.asarray(ctrl, float))
        self._ticks.wait()
        return self.measure(applied)

    def measure(self, applied: np.ndarray | None = None) -> Measurement:
        """Reads the robot and the camera, without moving."""
        observation, now = self._robot.get_observation(), time.monotonic()
        raw = np.array([float(observation[name]) for name in self._read])
        poses = np.full((len(self.names.objects), 7), np.nan)
        views = self._camera() if self._camera else {}
        for row, name in zip(poses, self.names.objects, strict=True):
            pose = views.get(name)
            if pose is not None:
                row[:], self._seen[name] = pose, now
        age = np.array([*self._delay, *(now - seen for seen in self._seen.values())])
        joints = self._factor * raw + self._shift
        return measurement(self.names, joints, objects=poses, age=age, applied=applied)

    def stop(self) -> None:
        """Servos hold where the joints are; other actuators get zero."""
        try:
            if self._robot.is_connected:
                self._send(self._holding(self.measure()))
        except Exception as error:  # of any robot: stopping goes on
            log(f"the robot could not be stopped: {error}; switch it off")

    def close(self) -> None:
        """Disconnects."""
        _disconnect(self._robot)

    def _send(self, ctrl: np.ndarray) -> np.ndarray:
        """Sends a command, (nu,); returns the one that the robot has sent to its motors."""
        raw = {name: float((ctrl[i] - b) / a) for name, (i, a, b) in self._sent.items()}
        answer = self._robot.send_action(raw | self._constant)
        applied = ctrl.copy()
        for name, (i, factor, shift) in self._sent.items():
            if answer[name] != raw[name]:  # an equal one does not go through its unit and back
                applied[i] = factor * float(answer[name]) + shift
        return applied

    def _holding(self, sensed: Measurement) -> np.ndarray:
        qpos = self._scene.mj_model.qpos0.copy()
        qpos[sensors.places(self._scene, self.names).joints] = sensed.joints
        return np.asarray(sensors.holding(self._scene, qpos), float)


class LeRobotTeleoperator(Nobody):
    """An ``Operator`` who commands through LeRobot; what is recorded is her command.

    Args:
      teleoperator: of LeRobot, such as an ``SO101Leader``; calibrated.
      task: whose actuators she commands; one without a column holds its last command.
      columns: of the robot's logs: which feature is which actuator, in which unit.
      takes_over: of the teleoperator's action, its features by name: whether she has taken over.
        When absent, LeRobot's own event of an intervention decides; without such events she leads
        throughout.

    Raises:
      ColumnsError: columns that do not fit the MJCF, or name a feature that the teleoperator lacks.
    """

    def __init__(
        self,
        teleoperator: Any,
        task: Task,
        columns: Columns,
        *,
        takes_over: Callable[[Mapping[str, Any]], bool] | None = None,
    ) -> None:
        self._teleoperator, self._takes_over = teleoperator, takes_over
        _, drives = layout(columns, task.scene.mj_model)
        self._sent = _commanded(drives, _numbers(teleoperator.action_features))

    def connect(self) -> None:
        """Opens the teleoperator.

        Raises:
          RobotError: it is not calibrated.
        """
        _connect(self._teleoperator, "teleoperator")

    def close(self) -> None:
        """Disconnects."""
        _disconnect(self._teleoperator)

    def command(self, measured: Measurement) -> np.ndarray | None:
        """Hers where she has taken over.

        Raises:
          RobotError: an action without one of the features.
        """
        action = self._teleoperator.get_action()
        if not (self._takes_over(action) if self._takes_over else self._intervenes()):
            return None
        ctrl = np.array(measured.applied, float)
        for name, (i, factor, shift) in self._sent.items():
            if name not in action:
                raise RobotError(
                    f"the teleoperator gives {sorted(action)}, without '{name}'; check it, then "
                    "run the same command again"
                )
            ctrl[i] = factor * float(action[name]) + shift
        return ctrl

    def _intervenes(self) -> bool:
        """By LeRobot's events, whose names are the values of an enumeration."""
        if not hasattr(self._teleoperator, "get_teleop_events"):
            return True
        events = self._teleoperator.get_teleop_events()
        return any(on for e, on in events.items() if getattr(e, "value", e) == INTERVENTION)


def _connect(device: Any, kind: str) -> None:
    if not device.is_connected:
        device.connect(calibrate=False)
    if not device.is_calibrated:
        _disconnect(device)
        raise RobotError(f"the {kind} is not calibrated; run LeRobot's calibration first")


def _disconnect(device: Any) -> None:
    if device.is_connected:
        device.disconnect()


def _commanded(drives: Sequence[Drive], numbers: list[str]) -> dict[str, tuple[int, float, float]]:
    """By action feature: the actuator that it commands, the factor and the shift to its unit."""
    return {
        _feature(drive.columns[0], "action", numbers): (drive.index, drive.factor, drive.shift)
        for drive in drives
        if drive.columns
    }


def _numbers(features: Mapping[str, Any]) -> list[str]:
    """The features that are numbers, in order; images have a shape."""
    return [name for name, kind in features.items() if not isinstance(kind, tuple)]


def _feature(column: str, array: str, names: list[str]) -> str:
    """The feature that a column of the robot's log holds."""
    for i, name in enumerate(names):
        if column in (name, f"{array}.{name}", f"{array}[{i}]"):
            return name
    raise ColumnsError(f"column '{column}' is no feature of the device; it has {names}")
