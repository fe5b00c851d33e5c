"""Policies as ONNX: equal to 1e-5, and refused for another task or contract."""

import dataclasses
import itertools
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from tests.helpers.small_tasks import Lift, Reach
from worldmodel.errors import InputError
from worldmodel.policies import onnx_policy
from worldmodel.policies.actor import Actor
from worldmodel.policies.clone import Cloned
from worldmodel.policies.contract import contract
from worldmodel.policies.onnx_policy import CONTRACT, FILE, export, load
from worldmodel.tasks.task import Task

REACH = Reach()


def layers(sizes: list[int]) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=(a, b)).astype(np.float32), rng.normal(size=b).astype(np.float32))
        for a, b in itertools.pairwise(sizes)
    ]


def actor_for(task: Task) -> Actor:
    sizes = [task.observation_size, 16, 16, task.action_size]
    return Actor(tuple(layers(sizes)), *normaliser(sizes[0]))


def normaliser(observed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    centre, scale = rng.normal(size=observed), rng.uniform(0.5, 2.0, observed)
    return centre.astype(np.float32), scale.astype(np.float32)


def cloned(history: int, chunk: int) -> Cloned:
    dense = {
        f"Dense_{i}": {"kernel": kernel, "bias": bias}
        for i, (kernel, bias) in enumerate(layers([3 * history, 8, 8, chunk]))
    }
    sizes = {"observed": 3, "action": 1, "width": 8, "history": history, "chunk": chunk}
    centre, scale = normaliser(3)
    return Cloned({"params": dense}, centre, scale, **sizes)


@pytest.mark.parametrize("history, chunk", [(0, 0), (1, 1), (3, 4)], ids=["actor", "plain", "past"])
def test_an_exported_policy_acts_alike(tmp_path: Path, history: int, chunk: int) -> None:
    policy = cloned(history, chunk) if history else actor_for(REACH)
    export(tmp_path / "out", policy, REACH)
    exported = load(tmp_path / "out", REACH)
    seen = np.random.default_rng(1).normal(size=(12, 3))
    key = jax.random.key(0)
    ours, theirs = policy.init(seen[0], key), exported.init(seen[0], key)
    actions = []
    for row in seen:
        expected, ours = policy.act(ours, jnp.asarray(row), key)
        action, theirs = exported.act(theirs, row, key)
        np.testing.assert_allclose(action, expected, atol=1e-5)
        actions.append(action)
    assert np.shape(actions) == (12, 1) and np.ptp(actions) > 0.01


def test_the_contract_names_numbers_units_order_rate_and_range(tmp_path: Path) -> None:
    lift = Lift()
    export(tmp_path / "out", actor_for(lift), lift)
    described = json.loads((tmp_path / "out" / CONTRACT).read_text())
    assert described == contract(lift) | {"history": 1, "chunk": 1}
    assert described["task"] == "lift" and described["rate_hz"] == 20.0
    observed = {row["name"]: row["unit"] for row in described["observation"]}
    assert list(observed)[:5] == ["lift", "jaw", "velocity.lift", "velocity.jaw", "box.x"]
    assert list(observed)[-5:] == [
        *("touch.jaw-box", "goal.open", "goal.place.0", "goal.place.1", "goal.place.2")
    ]
    assert [observed[n] for n in ("lift", "jaw", "velocity.jaw", "box.z", "box.qw")] == [
        *("m", "rad", "rad/s", "m", "1")
    ]
    assert len(observed) == lift.observation_size == 16
    assert described["action"][1] == {"name": "jaw", "unit": "1", "low": -1.0, "high": 1.0}
    assert described["command"][1] == {"name": "jaw", "unit": "rad", "low": -0.2, "high": 1.2}


class Other(Reach):
    """It observes for itself."""

    def __init__(self, **changes: object) -> None:
        super().__init__()
        self.name = "reach"
        for name, value in changes.items():
            setattr(self, name, value)

    def observe(self, measured, goal):
        return jnp.stack([measured.joints[0], measured.velocities[0], goal["target"]])


def test_a_task_that_observes_for_itself_names_what_it_observes() -> None:
    rows = contract(Other())["observation"]
    assert [row["name"] for row in rows] == ["observation.0", "observation.1", "observation.2"]
    named = Other(observed=[("place", "m"), ("speed", "m/s"), ("target", "m")])
    assert contract(named)["observation"][1] == {"name": "speed", "unit": "m/s"}
    with pytest.raises(InputError, match=r"names 1 numbers .* and observes 3"):
        contract(Other(observed=[("place", "m")]))


def test_a_file_of_another_contract_is_refused_by_what_differs(tmp_path: Path) -> None:
    export(tmp_path / "out", actor_for(REACH), REACH)
    with pytest.raises(InputError, match=r"observation than task 'lift': it lacks \['lift', 'jaw'"):
        load(tmp_path / "out", Lift())
    with pytest.raises(InputError, match=r"it lacks \['observation.0', .* and has \['x', "):
        load(tmp_path / "out", Other())
    slower = Reach()
    slower.scene = dataclasses.replace(slower.scene, control_hz=10.0)
    with pytest.raises(InputError, match=r"its rate_hz is 20.0, not 10.0"):
        load(tmp_path / "out", slower)
    with pytest.raises(InputError, match=r"observes 3 numbers and decides 1; .* 16 and 2: export"):
        export(tmp_path / "lift", actor_for(REACH), Lift())
    with pytest.raises(InputError, match=r"observes 3 numbers, the task gives it \(16,\)"):
        load(tmp_path / "out", REACH).init(np.zeros(16), None)


def test_files_that_are_no_exported_policies_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match=r"No such file or directory; `worldmodel export` writes"):
        load(tmp_path, REACH)
    export(tmp_path / "out", actor_for(REACH), REACH)
    file = tmp_path / "out" / FILE
    whole = file.read_bytes()
    file.write_bytes(whole[:100])
    with pytest.raises(InputError, match="no ONNX file that runs here"):
        load(tmp_path / "out", REACH)
    model = onnx.load_from_string(whole)
    narrow = contract(REACH) | {"history": 2, "chunk": 1}
    onnx.helper.set_model_props(model, {"contract": json.dumps(narrow)})
    file.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match="takes 3 numbers and answers with 1, unlike its contract"):
        load(tmp_path / "out", REACH)
    del model.metadata_props[:]
    file.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"carries no contract \('contract'\)"):
        load(tmp_path / "out", REACH)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install 'worldmodel\[onnx\]'"):
        onnx_policy.load(tmp_path / "out", REACH)
