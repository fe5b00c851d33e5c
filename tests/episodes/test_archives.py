"""The four recordings, as any other log: read, checked, and refused where they are damaged."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from experiments.recordings.problems import CUBE, ELBOW, PENDULUM, PROBLEMS, Problem, find_problem
from tests.helpers.recorded import simulate
from worldmodel.episodes.draft import draft
from worldmodel.episodes.reading import Reading, read_episodes
from worldmodel.errors import InputError

Parts = dict[str, dict[str, np.ndarray]]  # by episode, then by array
SOME = 6  # episodes of each recording that the tests change


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small simulated archive of each layout."""
    folder = tmp_path_factory.mktemp("recordings")
    for problem in PROBLEMS.values():
        simulate(problem, episodes=3, seed=1, out=folder / f"{problem.name}.npz")
    return {name: folder / f"{name}.npz" for name in PROBLEMS}


def read(problem: Problem, path: Path) -> Reading:
    return read_episodes(path, problem.columns, problem.model())


ANEW = "made anew from positions, the clock is resampled"


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda p: p.name)
def test_simulated_archives_are_read(problem: Problem, archives: dict[str, Path]) -> None:
    reading, model = read(problem, archives[problem.name]), problem.model()
    assert [e.id for e in reading.episodes] == [0, 1, 2]
    assert reading.control_hz == problem.control_hz
    for e in reading.episodes:
        assert e.qpos.shape == (len(e.time), model.nq) and e.qpos.dtype == np.float64
        assert e.qvel.shape == (len(e.time), model.nv)
        assert e.ctrl.shape == (len(e.time), model.nu)
        np.testing.assert_allclose(np.diff(e.time), 1 / problem.control_hz)
        assert e.valid.any() and e.fresh.any() and e.measured is None


@pytest.mark.parametrize(
    ("name", "episodes", "repairs"),
    [
        ("cube_toss", 470, {}),
        ("elbow_toss", 441, {"angle: unwrapped": 441}),
        ("double_pendulum", 36, {f"velocity: {ANEW}": 64454}),
    ],
)
def test_the_real_archives_are_read_whole(
    recordings: Path, name: str, episodes: int, repairs: dict[str, int]
) -> None:
    reading = read(find_problem(name), recordings / f"{name}.npz")
    assert len(reading.episodes) == episodes and reading.notes == ()
    assert all(e.valid.all() and e.measured is None for e in reading.episodes)
    assert {r.rule: r.frames for r in reading.repairs} == repairs
    if name == "elbow_toss":
        assert max(np.abs(np.diff(e.qpos[:, 7])).max() for e in reading.episodes) < 2.0


def test_the_glitches_of_the_real_square_are_counted(recordings: Path) -> None:
    reading = read(find_problem("square_drop"), recordings / "square_drop.npz")
    invalid = sum(int((~e.valid).sum()) for e in reading.episodes)
    frames = sum(len(e.valid) for e in reading.episodes)
    assert len(reading.episodes) == 400 and 0 < invalid < 0.02 * frames
    (rejected,) = [r for r in reading.repairs if r.rule.startswith("rejected")]
    assert rejected.frames == invalid  # what is too fast is a glitch


def test_the_stored_velocities_of_the_tosses_are_kept(recordings: Path) -> None:
    with np.load(recordings / "cube_toss.npz") as archive:
        first = slice(*archive["start"][:2].tolist())
        stored, poses = archive["qvel"][first], archive["qpos"][first]
    episode = read(CUBE, recordings / "cube_toss.npz").episodes[0]
    np.testing.assert_array_equal(episode.qvel, stored.astype(float))
    np.testing.assert_array_equal(episode.qpos[:, :3], poses[:, :3].astype(float))


@pytest.mark.parametrize("problem", PROBLEMS.values(), ids=lambda p: p.name)
def test_a_draft_of_a_recordings_columns_needs_a_rate_and_a_torque_alone(
    problem: Problem, archives: dict[str, Path]
) -> None:
    columns, notes = draft(archives[problem.name], problem.model())
    assert columns.joints == problem.columns.joints
    assert columns.bodies == problem.columns.bodies
    assert (columns.time, columns.rate_hz) == (problem.columns.time, problem.columns.rate_hz)
    assert [c.column for c in columns.commands] == [f"ctrl[{i}]" for i in range(problem.model().nu)]
    assert any("by their order" in note or "by its order" in note for note in notes)


def few(recordings: Path, name: str, count: int = SOME) -> tuple[Parts, dict[str, np.ndarray]]:
    """The first episodes of a recording, and the arrays that are not of frames."""
    with np.load(recordings / f"{name}.npz") as archive:
        arrays = {n: archive[n] for n in archive.files}
    start, ids = arrays.pop("start"), arrays.pop("id")
    frames = {n: a for n, a in arrays.items() if a.ndim and len(a) == start[-1]}
    parts = {
        str(ids[i]): {n: a[start[i] : start[i + 1]].copy() for n, a in frames.items()}
        for i in range(count)
    }
    return parts, {n: a for n, a in arrays.items() if n not in frames}


def saved(path: Path, parts: Parts, rest: dict[str, np.ndarray]) -> Path:
    lengths = [len(part["qpos"]) for part in parts.values()]
    names = next(iter(parts.values()))
    arrays: dict = {n: np.concatenate([part[n] for part in parts.values()]) for n in names} | rest
    np.savez(path, start=np.cumsum([0, *lengths]), id=np.array([*parts]), **arrays)
    return path


def test_the_table_says_in_which_order_a_real_cubes_quaternion_is(
    recordings: Path, tmp_path: Path
) -> None:
    (tracked,) = CUBE.columns.bodies
    still = dataclasses.replace(CUBE.columns, bodies=(dataclasses.replace(tracked, velocity=()),))
    parts, rest = few(recordings, "cube_toss")
    reading = read_episodes(saved(tmp_path / "a.npz", parts, rest), still, CUBE.model())
    assert reading.notes == ()  # the table confirms it
    for part in parts.values():
        part["qpos"] = part["qpos"][:, [0, 1, 2, 4, 5, 6, 3]]
    path = saved(tmp_path / "b.npz", parts, rest)
    with pytest.raises(InputError, match=r"m deep in what it touches .*order = .xyzw"):
        read_episodes(path, still, CUBE.model())
    with pytest.raises(InputError, match=r"recorded angular velocity .*order = .xyzw"):
        read(CUBE, path)


def test_a_real_arms_log_with_gaps(recordings: Path, tmp_path: Path) -> None:
    parts, rest = few(recordings, "double_pendulum")
    whole = read(PENDULUM, saved(tmp_path / "whole.npz", parts, rest)).episodes
    for name, part in parts.items():  # the logger lost 0.6 s, three times an episode
        time = part["time"]
        kept = np.ones(len(time), bool)
        for at in (0.25, 0.5, 0.75):
            kept &= ~((time > at * time[-1]) & (time < at * time[-1] + 0.6))
        parts[name] = {n: a[kept] for n, a in part.items()}
    reading = read(PENDULUM, saved(tmp_path / "gap.npz", parts, rest))
    for episode, other in zip(reading.episodes, whole, strict=True):
        assert 0.8 < episode.valid.mean() < 0.83  # 1.8 of 10 s
        valid = episode.valid & np.isfinite(episode.qpos).all(axis=1)
        error = np.abs(episode.qpos[valid] - other.qpos[: len(valid)][valid])
        assert error.max() < 2e-3
        assert np.nanmax(np.abs(episode.qvel)) < 25.0
    (gap,) = [r for r in reading.repairs if r.rule == "gap: not valid"]
    assert gap.episodes == SOME


def test_a_real_arms_stuck_encoder(recordings: Path, tmp_path: Path) -> None:
    parts, rest = few(recordings, "double_pendulum")
    whole = read(PENDULUM, saved(tmp_path / "whole.npz", parts, rest)).episodes
    for part in parts.values():  # joint 2 repeats its last value for 0.3 s of every second
        held, last = (part["time"] % 1.0) < 0.3, 0
        for k in range(len(held)):
            last = last if held[k] else k
            part["qpos"][k, 1] = part["qpos"][last, 1] if held[k] else part["qpos"][k, 1]
    reading = read(PENDULUM, saved(tmp_path / "stuck.npz", parts, rest))
    for episode, other in zip(reading.episodes, whole, strict=True):
        assert episode.measured is not None and episode.measured[:, 0].all()
        wrong = np.abs(episode.qpos[:, 1] - other.qpos[:, 1]) > 0.02
        assert (wrong & episode.measured[:, 1]).sum() < 0.03 * len(wrong)
        assert 0.65 < episode.measured[:, 1].mean() < 0.8
    assert any("stuck encoder" in r.rule and r.column == "qpos[1]" for r in reading.repairs)


def test_real_bursts_of_stamps_degrees_and_milliseconds_are_refused(
    recordings: Path, tmp_path: Path
) -> None:
    for change, message in (
        ("burst", "episode 'sysid_00'.*no regular clock explains these stamps"),
        ("degrees", r"column 'qpos\[0\]' \(joint 'shoulder'\) moves at up to .*unit = .deg"),
        ("milliseconds", "episode 'sysid_00'.*a frame every 2 s .*time_unit = .ms"),
    ):
        parts, rest = few(recordings, "double_pendulum")
        generator = np.random.default_rng(0)
        for part in parts.values():
            if change == "burst":
                late = part["time"] + generator.exponential(3e-3, len(part["time"]))
                part["time"] = np.maximum.accumulate(late)
            elif change == "degrees":
                part["qpos"], part["qvel"] = np.degrees(part["qpos"]), np.degrees(part["qvel"])
            else:
                part["time"] = part["time"] * 1e3
        path = saved(tmp_path / "a.npz", parts, rest)
        with pytest.raises(InputError, match=message):
            read(PENDULUM, path)


def test_a_foreign_file_an_unknown_name_and_another_rate_are_refused(
    archives: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"has no column 'qpos\[7\]'"):
        read(ELBOW, archives["cube_toss"])
    with pytest.raises(InputError, match=r"has none of the .* columns .*another robot|no column"):
        read(PENDULUM, archives["cube_toss"])
    with pytest.raises(InputError, match="no file"):
        read(ELBOW, tmp_path / "absent.npz")
    with pytest.raises(InputError, match="unknown recording 'elbow'; known: elbow_toss"):
        find_problem("elbow")
    with np.load(archives["cube_toss"]) as archive:
        np.savez(tmp_path / "b.npz", **{**archive, "rate_hz": np.array(100.0)})
    with pytest.raises(InputError, match=r"rate_hz is 100\.0, not 148"):
        read(CUBE, tmp_path / "b.npz")
