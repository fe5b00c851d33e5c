"""Loaders: the real archives, and every way in which an archive can be bad."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from experiments.recordings.layouts import (
    CUBE_TOSS,
    DOUBLE_PENDULUM,
    ELBOW_TOSS,
    RECORDINGS,
    SQUARE_DROP,
    find,
)
from experiments.recordings.simulate import simulate
from worldmodel.episodes.recording import Recording, RecordingError, load
from worldmodel.episodes.resampling import velocities


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small simulated archive of each layout."""
    folder = tmp_path_factory.mktemp("recordings")
    out = {}
    for recording in RECORDINGS:
        out[recording.name] = folder / f"{recording.name}.npz"
        simulate(recording, episodes=3, seed=1, out=out[recording.name])
    return out


def changed(path: Path, to: Path, **arrays: object) -> Path:
    """A copy of an archive with arrays replaced; None leaves one out."""
    with np.load(path) as archive:
        content = {name: archive[name] for name in archive.files}
    content |= arrays
    np.savez(to, **{k: v for k, v in content.items() if v is not None})  # type: ignore[arg-type]
    return to


@pytest.mark.parametrize("recording", RECORDINGS, ids=lambda r: r.name)
def test_simulated_archives_load(recording: Recording, archives: dict[str, Path]) -> None:
    episodes = load(archives[recording.name], recording)
    assert [e.id for e in episodes] == [0, 1, 2]
    for e in episodes:
        assert e.qpos.shape == (len(e.time), recording.nq)
        assert e.qvel.shape == (len(e.time), recording.nv)
        assert e.ctrl.shape == (len(e.time), recording.nu)
        assert e.qpos.dtype == np.float64
        np.testing.assert_allclose(np.diff(e.time), 1 / recording.control_hz)
        assert e.valid.any() and e.fresh.any()


@pytest.mark.parametrize(
    ("recording", "episodes"),
    [(CUBE_TOSS, 470), (ELBOW_TOSS, 441), (SQUARE_DROP, 400), (DOUBLE_PENDULUM, 36)],
    ids=lambda x: getattr(x, "name", None),
)
def test_real_archives_load(recordings: Path, recording: Recording, episodes: int) -> None:
    loaded = load(recordings / f"{recording.name}.npz", recording)
    assert len(loaded) == episodes
    for hinge in recording.hinges:
        assert max(np.abs(np.diff(e.qpos[:, hinge])).max() for e in loaded) < 2.0  # unwrapped
    if recording is SQUARE_DROP:
        left_out = sum(int((~e.valid).sum()) for e in loaded)
        frames = sum(len(e.valid) for e in loaded)
        assert 0 < left_out < 0.02 * frames  # glitches, and little else


def test_ids_may_be_text(archives: dict[str, Path], tmp_path: Path) -> None:
    path = changed(archives["cube_toss"], tmp_path / "t.npz", id=np.array(["a", "bé", "c7"]))
    assert [e.id for e in load(path, CUBE_TOSS)] == ["a", "bé", "c7"]


def nan_at(path: Path, name: str, frame: int) -> np.ndarray:
    array = np.load(path)[name].copy()
    array[frame] = np.nan
    return array


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"qvel": None}, "no array qvel"),
        ({"rate_hz": None}, "no array rate_hz"),
        ({"qpos": np.zeros((360, 8))}, r"qpos has shape \(360, 8\).*cube_toss"),
        ({"start": np.array([0, 10])}, "id has shape"),
        ({"start": np.array([0, 120, 240, 300])}, "rise from 0 to 360"),
        ({"start": np.array([0, 240, 120, 360])}, "rise from 0"),
        ({"start": np.array([0.0, 120, 240, 360])}, "start has shape.*type float64"),
        ({"id": np.array([1, 1, 2])}, "twice"),
        ({"rate_hz": np.array(100.0)}, r"rate_hz is 100\.0, not 148"),
        ({"qpos": np.full((360, 7), "x")}, "not numbers"),
        ({"qpos": np.zeros((360, 7))}, "episode 0: the quaternion at frame 0 has norm 0"),
        ({"qvel": np.array([{"a": 1}], dtype=object)}, "pickled"),
        ({"start": np.array([0, 240, 120, 360], np.uint64)}, "rise from 0"),
        ({"id": np.array([0.5, 1.5, 2.5])}, "id is of type float64"),
    ],
)
def test_bad_arrays_are_named(
    archives: dict[str, Path], tmp_path: Path, arrays: dict, message: str
) -> None:
    path = changed(archives["cube_toss"], tmp_path / "bad.npz", **arrays)
    with pytest.raises(RecordingError, match=message):
        load(path, CUBE_TOSS)


def test_a_nan_is_named_by_episode_and_frame(archives: dict[str, Path], tmp_path: Path) -> None:
    source = archives["cube_toss"]
    path = changed(source, tmp_path / "nan.npz", qvel=nan_at(source, "qvel", 125))
    with pytest.raises(RecordingError, match="episode 1: qvel is not finite at frame 5"):
        load(path, CUBE_TOSS)


def test_time_must_increase(archives: dict[str, Path], tmp_path: Path) -> None:
    source = archives["double_pendulum"]
    time = np.load(source)["time"].copy()
    time[1500] = time[1499]
    path = changed(source, tmp_path / "time.npz", time=time)
    with pytest.raises(RecordingError, match="episode 1: time does not increase at frame 500"):
        load(path, DOUBLE_PENDULUM)


def test_a_foreign_file_and_an_unknown_name_are_refused(
    archives: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(RecordingError, match="is it another recording"):
        load(archives["cube_toss"], ELBOW_TOSS)
    with pytest.raises(RecordingError, match="no file"):
        load(tmp_path / "absent.npz", ELBOW_TOSS)
    with pytest.raises(RecordingError, match="unknown recording 'elbow'; known: cube_toss"):
        find("elbow")
    single = tmp_path / "single.npz"
    with single.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(RecordingError, match="single array"):
        load(single, ELBOW_TOSS)


def test_a_clock_that_is_none_is_named(archives: dict[str, Path], tmp_path: Path) -> None:
    source = archives["double_pendulum"]
    time = np.load(source)["time"]
    for wrong, message in (
        (time[:-1], r"time has shape \(2999,\)"),
        (1e6 * time, "episode 0: time spans over 3600 s"),
    ):
        with pytest.raises(RecordingError, match=message):
            load(changed(source, tmp_path / "clock.npz", time=wrong), DOUBLE_PENDULUM)


@pytest.mark.parametrize("content", [b"", b"P", b"a,b\n1,2\n"], ids=["empty", "one byte", "csv"])
def test_what_is_no_archive_is_not_called_pickled(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.npz").write_bytes(content)
    with pytest.raises(RecordingError, match=r"x\.npz is .*damaged"):
        load(tmp_path / "x.npz", CUBE_TOSS)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(where=st.floats(0, 0.999), flip=st.booleans())
def test_a_damaged_archive_is_never_anything_but_a_recording_error(
    archives: dict[str, Path], tmp_path: Path, where: float, flip: bool
) -> None:
    whole = archives["cube_toss"].read_bytes()
    cut = int(where * len(whole))
    damaged = bytearray(whole) if flip else bytearray(whole[:cut])
    if flip:
        damaged[cut : cut + 8] = bytes(255 - b for b in damaged[cut : cut + 8])
    path = tmp_path / "damaged.npz"
    path.write_bytes(bytes(damaged))
    try:
        load(path, CUBE_TOSS)
    except RecordingError as error:
        assert "damaged.npz" in str(error)
    else:
        assert flip  # a flipped byte may hit padding; a truncated file must never load


def fall_and_bounce() -> np.ndarray:
    """(frames, 3) x, z, θ of a square that falls, bounces once with a kick and flies on."""
    t = np.arange(100) / 250.0
    down = t < 0.15
    z = np.where(down, 0.15 - 0.5 * 9.81 * t**2, 0.04 + 1.2 * (t - 0.15) - 4.9 * (t - 0.15) ** 2)
    theta = np.where(down, 10 * t, 1.5 - 25 * (t - 0.15))
    return np.stack([0.3 * t, z, theta], axis=1)


def glitches(qpos: np.ndarray) -> np.ndarray:
    assert SQUARE_DROP.rejects is not None
    return SQUARE_DROP.rejects.rejected(qpos)


def test_a_bounce_is_no_glitch_and_a_glitch_is() -> None:
    clean = fall_and_bounce()
    assert not glitches(clean).any()
    for column, height in ((1, 0.03), (2, 0.4)):  # the spike, its neighbours and their successor
        spiked = clean.copy()
        spiked[20, column] += height
        assert np.flatnonzero(glitches(spiked)).tolist() == [19, 20, 21, 22]
    jumped = clean.copy()
    jumped[60:, 2] += np.pi / 2
    assert np.flatnonzero(glitches(jumped)).tolist() == [59, 60, 61]


def test_a_fast_spin_is_real_up_to_the_energy_of_the_fall() -> None:
    after = np.maximum(np.arange(100) - 59, 0) / 250.0
    for spin, impossible in ((75.0, 0), (-75.0, 0), (110.0, 40)):
        square = fall_and_bounce()
        square[:, 2] = 0.3 + spin * after
        assert glitches(square).sum() == impossible


def test_velocities_are_the_end_slope_of_the_past() -> None:
    generator = np.random.default_rng(0)
    time = np.cumsum(generator.uniform(0.0015, 0.0035, size=200))
    qpos = np.stack([1 + 2 * time - 30 * time**2, 5 * time**2], axis=1)
    recorded = np.full_like(qpos, 99.0)
    last = np.arange(200)
    exact = np.stack([2 - 60 * time, 10 * time], axis=1)
    slopes = velocities(time, qpos, recorded, last)
    np.testing.assert_allclose(slopes[2:], exact[2:], atol=1e-8)
    np.testing.assert_array_equal(slopes[:2], recorded[:2])  # no three samples yet
    noisy = qpos + 1e-4 * generator.normal(size=qpos.shape)
    error = velocities(time, noisy, recorded, last)[20:] - exact[20:]
    difference = (np.diff(noisy, axis=0) / np.diff(time)[:, None])[19:] - exact[20:]
    assert np.sqrt((error**2).mean()) < 0.6 * np.sqrt((difference**2).mean())
    qpos[101:] = 7.0
    np.testing.assert_array_equal(velocities(time, qpos, recorded, last)[:101], slopes[:101])


def test_resampling_holds_the_torque_and_never_looks_ahead(tmp_path: Path) -> None:
    rate, seconds = 33.0, 2.0
    time = np.arange(int(rate * seconds)) / rate
    torque = np.stack([np.arange(len(time)), -np.arange(len(time))], axis=1).astype(float)
    qpos = np.stack([np.sin(time), np.cos(time)], axis=1)
    qvel = np.stack([np.cos(time), -np.sin(time)], axis=1)
    content: dict = {
        "qpos": qpos,
        "qvel": qvel,
        "start": np.array([0, len(time)]),
        "id": np.array([0]),
    }
    content |= {"time": time, "torque_measured": torque, "ctrl": torque}
    np.savez(tmp_path / "a.npz", **content)
    (episode,) = load(tmp_path / "a.npz", DOUBLE_PENDULUM)
    # The impulse of the held torque is kept.
    until = episode.time[-1]
    held = np.minimum(np.append(time[1:], time[-1]), until) - np.minimum(time, until)
    expected = (torque * held[:, None]).sum(0)
    np.testing.assert_allclose(episode.ctrl[:-1].sum(0) / 200.0, expected, atol=1e-9)
    np.testing.assert_allclose(episode.qpos[:, 0], np.sin(episode.time), atol=2e-4)
    assert 0.1 < episode.fresh.mean() < 0.25  # 33 of 200
    k = int(np.flatnonzero(episode.fresh)[20])
    later = time > episode.time[k] + 1e-9
    content["qpos"] = np.where(later[:, None], 9.0, qpos)
    content["qvel"] = np.where(later[:, None], 9.0, qvel)
    np.savez(tmp_path / "b.npz", **content)
    (other,) = load(tmp_path / "b.npz", DOUBLE_PENDULUM)
    np.testing.assert_array_equal(other.qpos[k], episode.qpos[k])
    np.testing.assert_array_equal(other.qvel[k], episode.qvel[k])


@pytest.mark.parametrize(
    ("recording", "changes", "message"),
    [
        (DOUBLE_PENDULUM, {"hinges": (0,)}, "has a clock of its own"),
        (DOUBLE_PENDULUM, {"command": None}, "has a clock of its own"),
        (DOUBLE_PENDULUM, {"rejects": SQUARE_DROP.rejects}, "has a clock of its own"),
        (CUBE_TOSS, {"control_hz": 74.0}, "sampled at 148.0 Hz and read at 74.0 Hz"),
    ],
)
def test_what_the_reader_would_pass_over_is_refused(
    recording: Recording, changes: dict, message: str
) -> None:
    with pytest.raises(RecordingError, match=message):
        dataclasses.replace(recording, **changes)
