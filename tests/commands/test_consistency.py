"""Signs, scales, delays, ranges and clocks that disagree are named; what fits is not."""

import dataclasses

import numpy as np
import pytest

from tests.helpers.own_arm import ARM, HZ, SUBSTEPS, played
from worldmodel._mujoco import mujoco
from worldmodel.commands.consistency import consistency, response
from worldmodel.commands.findings import MEND, NOTE, OK, Finding
from worldmodel.types import Episode


def model_of(xml: str = ARM) -> mujoco.MjModel:
    model = mujoco.MjModel.from_xml_string(xml)
    model.opt.timestep = 1.0 / (HZ * SUBSTEPS)
    return model


@pytest.fixture(scope="module")
def episodes() -> list[Episode]:
    out = []
    for seed in range(5):
        qpos, ctrl = played(seed)
        qvel = np.gradient(qpos, axis=0) * HZ
        out.append(Episode.regular(seed, HZ, qpos=qpos, qvel=qvel, ctrl=ctrl))
    return out


def finding_of(episodes: list[Episode], subject: str) -> Finding:
    findings = consistency(model_of(), SUBSTEPS, episodes, HZ)
    return next(f for f in findings if f.subject == subject)


def test_what_fits_is_ok(episodes: list[Episode]) -> None:
    findings = consistency(model_of(), SUBSTEPS, episodes, HZ)
    assert [f.level for f in findings] == [OK, OK]


def test_a_turned_sign_is_named(episodes: list[Episode]) -> None:
    turned = [dataclasses.replace(e, qpos=e.qpos * [-1, 1]) for e in episodes]
    assert finding_of(turned, "servo shoulder").level == MEND
    assert "turn one sign" in finding_of(turned, "servo shoulder").text
    assert finding_of(turned, "servo elbow").level == OK


def test_degrees_are_named_by_limits_and_by_scale(episodes: list[Episode]) -> None:
    degrees = [dataclasses.replace(e, qpos=np.degrees(e.qpos)) for e in episodes]
    assert finding_of(degrees, "joint shoulder").level == MEND
    servo = finding_of(degrees, "servo elbow")
    assert servo.level == MEND and "degrees" in servo.text


def test_a_late_command_is_measured_against_the_mjcfs_own_lag(episodes: list[Episode]) -> None:
    frames = 5  # each command acts so many frames after its stamp: 100 ms
    late = [
        dataclasses.replace(
            e, ctrl=np.concatenate([e.ctrl[frames:], np.repeat(e.ctrl[-1:], frames, axis=0)])
        )
        for e in episodes
    ]
    servo = finding_of(late, "servo elbow")
    assert servo.level == NOTE and "fit both with --drives" in servo.text
    ms = float(servo.text.split("act about ")[1].split(" ms")[0])
    assert ms == pytest.approx(1e3 * frames / HZ, abs=1e3 / HZ)


def test_commands_beyond_their_range_are_named(episodes: list[Episode]) -> None:
    wide = [dataclasses.replace(e, ctrl=3.0 * e.ctrl, qpos=e.qpos) for e in episodes]
    assert finding_of(wide, "command shoulder").level in (NOTE, MEND)


def test_frames_that_are_not_measured_are_not_judged(episodes: list[Episode]) -> None:
    wild = []
    for e in episodes:
        qpos, measured = e.qpos.copy(), np.ones(e.qpos.shape, bool)
        qpos[10:20, 0], measured[10:20, 0] = 50.0, False
        wild.append(dataclasses.replace(e, qpos=qpos, measured=measured))
    subjects = [f.subject for f in consistency(model_of(), SUBSTEPS, wild, HZ)]
    assert "joint shoulder" not in subjects


def test_a_joint_that_stands_still_or_is_not_measured_is_named(episodes: list[Episode]) -> None:
    def elbow(value: float) -> str:
        def held(e: Episode) -> Episode:
            qpos = np.where([False, True], value, e.qpos)
            return dataclasses.replace(e, qpos=qpos, measured=np.isfinite(qpos))

        finding = finding_of([held(e) for e in episodes], "joint elbow")
        assert finding.level == NOTE
        return finding.text

    assert elbow(0.3).startswith("0.3 in every frame")
    assert elbow(np.nan) == "no frame measures it; look at its column"


def test_the_lag_of_a_shifted_sine_is_that_shift() -> None:
    t = np.arange(400) / 50.0
    command = [np.sin(2.0 * t + phase) for phase in (0.0, 1.0, 2.0)]
    position = [0.5 * np.sin(2.0 * (t - 0.09) + phase) + 0.2 for phase in (0.0, 1.0, 2.0)]
    answer = response(command, position, longest=25)
    assert answer is not None
    assert answer.lag == pytest.approx(4.5, abs=0.05)  # frames, of 0.09 s
    assert answer.slope == pytest.approx(0.5, rel=0.01)
    assert answer.correlation == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize(("drifting", "named"), [((0, 1), True), ((0,), False)])
def test_clocks_that_drift_are_named(drifting: tuple[int, ...], named: bool) -> None:
    """A clock is every servo's; a lag that changes in one alone is that servo's load."""
    rng, frames = np.random.default_rng(0), 1200
    episodes = []
    for seed in range(3):
        at = np.arange(-50, frames + 100)
        command = np.interp(at, at[::25], rng.uniform(-1, 1, len(at[::25])))
        # The state's clock loses 10 frames over the episode.
        lost = [10.0 * (servo in drifting) * np.arange(frames) / frames for servo in range(2)]
        qpos = np.stack([np.interp(np.arange(frames) - 3.0 - x, at, command) for x in lost], 1)
        ctrl = command[50 : 50 + frames, None].repeat(2, axis=1)
        qvel = np.gradient(qpos, axis=0) * HZ
        episodes.append(Episode.regular(seed, HZ, qpos=qpos, qvel=qvel, ctrl=ctrl))
    findings = consistency(model_of(), SUBSTEPS, episodes, HZ)
    assert any(f.level == MEND and "drift" in f.text for f in findings) == named


MOTOR = (
    ARM.replace("<position name", "<motor name")
    .replace(' ctrlrange="-2 2"', "")
    .replace(' range="-2 2"', "")
)


@pytest.mark.parametrize(("sign", "level"), [(1.0, OK), (-1.0, MEND)])
def test_a_motors_torque_is_compared_with_what_the_motion_needs(sign: float, level: str) -> None:
    model = model_of(MOTOR)
    episodes, data = [], mujoco.MjData(model)
    for seed in range(3):
        mujoco.mj_resetData(model, data)
        rng, rows = np.random.default_rng(seed), []
        turn = (
            2 * np.pi * (np.arange(200)[:, None] / HZ * np.array([0.7, 1.1]) + rng.uniform(size=2))
        )
        torque = np.array([1.2, 0.4]) * np.sin(turn)
        for ctrl in torque:
            rows.append((data.qpos.copy(), data.qvel.copy()))
            data.ctrl[:] = ctrl
            mujoco.mj_step(model, data, nstep=SUBSTEPS)
        qpos, qvel = map(np.array, zip(*rows, strict=True))
        episodes.append(Episode.regular(seed, HZ, qpos=qpos, qvel=qvel, ctrl=sign * torque))
    motors = [f for f in consistency(model, SUBSTEPS, episodes, HZ) if "motor" in f.subject]
    assert [f.level for f in motors] == [level, level]


BASE = """<mujoco><worldbody><body><joint name="x" type="slide"/><geom size=".1" mass="5"/>
</body></worldbody><actuator><velocity name="x" joint="x" kv="{kv}"/></actuator></mujoco>"""


def driven(scale: float, late: int) -> list[Finding]:
    """Findings on a base whose velocity follows a sine; its positions are scaled."""
    model = model_of(BASE.format(kv=50))
    t = np.arange(150) / HZ
    episodes = []
    for seed, rate in enumerate((2.0, 3.0, 5.0)):
        data, ctrl, qpos = mujoco.MjData(model), 0.4 * np.sin(rate * t), np.zeros((len(t), 1))
        for k in range(1, len(t)):
            data.ctrl[:] = ctrl[max(0, k - 1 - late)]
            mujoco.mj_step(model, data, SUBSTEPS)
            qpos[k] = scale * data.qpos
        qvel = np.asarray(np.gradient(qpos, axis=0)) * HZ
        episodes.append(Episode.regular(seed, HZ, qpos=qpos, qvel=qvel, ctrl=ctrl[:, None]))
    return consistency(model, SUBSTEPS, episodes, HZ)


def test_a_velocity_servo_is_compared_by_its_velocity() -> None:
    assert [f.level for f in driven(1.0, late=0)] == [OK]
    (millimetres,) = driven(1e-3, late=0)
    assert millimetres.level == MEND and "millimetres" in millimetres.text
    (turned,) = driven(-1.0, late=0)
    assert turned.level == MEND and "turn one sign" in turned.text
    (late,) = driven(1.0, late=5)
    assert late.level == NOTE
    ms = float(late.text.split("act about ")[1].split(" ms")[0])
    assert ms == pytest.approx(5e3 / HZ, abs=1e3 / HZ)


def test_a_velocity_servo_that_is_never_commanded_is_a_damper() -> None:
    model = model_of(BASE.format(kv=50))
    still = Episode.regular(
        0, HZ, qpos=np.ones((50, 1)), qvel=np.zeros((50, 1)), ctrl=np.zeros((50, 1))
    )
    findings = consistency(model, SUBSTEPS, [still], HZ)
    assert [f.subject for f in findings] == ["joint x"]  # which nothing moved
