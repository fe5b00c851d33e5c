"""The learned half as a user fits it: on a physics checkpoint, in its own process."""

import dataclasses
import json
from pathlib import Path

import pytest

from experiments.recordings.fit_hybrid import Args, make_world
from experiments.recordings.fitted import restore_fitted
from experiments.recordings.problems import PENDULUM
from tests.helpers.command import ROOT, run
from tests.helpers.doors import MASS, door
from tests.helpers.recorded import simulate
from worldmodel.episodes.errors import episode_errors
from worldmodel.errors import InputError
from worldmodel.model import ConstantVelocity, Displacement, Force, Physics, Velocity, WorldModel
from worldmodel.model.ensemble import make_predictor

PHYSICS = (
    ROOT / "experiments" / "results" / "recordings" / "double_pendulum" / "physics" / "checkpoint"
)
HYBRID = ["experiments.recordings.fit_hybrid", "--recording", "double_pendulum", "--episodes", "3"]
HYBRID += ["--physics", str(PHYSICS)]
HYBRID += ["--horizon", "10", "--regression.steps", "40", "--fit.steps", "2"]
HYBRID += ["--regression.validate-every", "10", "--fit.batch", "8", "--network.latent", "3"]
HYBRID += ["--network.width", "8", "--network.members", "2"]
DOOR = door()


@pytest.mark.parametrize(
    ("options", "base", "correction"),
    [
        ({}, Physics(), Displacement()),
        ({"correction": "force"}, Physics(), Force()),
        ({"kind": "latent"}, ConstantVelocity(), Velocity()),
        ({"kind": "latent", "correction": "velocity"}, ConstantVelocity(), Velocity()),
    ],
)
def test_the_command_line_names_a_model(options: dict, base: object, correction: object) -> None:
    physics = WorldModel(DOOR, MASS)
    world = make_world(Args("double_pendulum", Path(), Path(), **options), physics)
    assert (world.scene, world.free) == (DOOR, MASS)
    assert (world.base, world.correction, world.network.members) == (base, correction, 5)


def test_a_latent_model_corrects_its_velocity_alone() -> None:
    args = Args("double_pendulum", Path(), Path(), kind="latent", correction="displacement")
    with pytest.raises(InputError, match="--correction displacement: a latent model"):
        make_world(args, WorldModel(DOOR))


def test_a_hybrid_is_fitted_and_evaluated(tmp_path: Path, pendulum: str) -> None:
    command = [*HYBRID, "--out", str(tmp_path / "hybrid")]
    done = run(*command, WORLDMODEL_DATA=pendulum)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert result["kind"] == "hybrid"
    rows = [json.loads(x) for x in (tmp_path / "hybrid/metrics.jsonl").read_text().splitlines()]
    assert [(r["member"], r["step"]) for r in rows] == [
        (k, step) for k in (0, 1) for step in (10, 20, 30, 40)
    ]
    assert {row["stage"] for row in rows} == {"regression"}
    assert min(row["validation"] for row in rows) < 1.0  # it learns something
    assert result["members"] == 2 and result["members_excluded"] == {}

    other = run(*command, "--regression.seed", "1", WORLDMODEL_DATA=pendulum)
    assert other.returncode == 2 and "regression.seed was 0 and is 1" in other.stderr

    path = tmp_path / "other.npz"
    simulate(PENDULUM, episodes=2, seed=9, out=path)
    checkpoint = tmp_path / "hybrid" / "checkpoint"
    evaluate = ["worldmodel", "evaluate", str(checkpoint), "--data", str(path)]
    printed = run(*evaluate, "--horizon", "10")
    assert printed.returncode == 0, printed.stderr
    fitted = restore_fitted(checkpoint)
    grid = dataclasses.replace(PENDULUM.windows, horizon=10)
    windows, _ = grid.cut(PENDULUM.episodes(path))
    predict = make_predictor(fitted.world, len(windows))
    error = episode_errors(predict(fitted.parameters, windows), windows, fitted.channels).mean(0)
    assert json.loads(printed.stdout)["joint_rad"] == pytest.approx(error[2], rel=1e-9)
