"""Policies as ONNX files with their contract, for robots that run no JAX.

``onnx`` writes them and ``onnxruntime`` runs them; both are the optional extra ``[onnx]``.
"""

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.errors import InputError
from worldmodel.policies.actor import Actor
from worldmodel.policies.clone import Cloned
from worldmodel.policies.contract import check, contract
from worldmodel.runtime.files import new_folder, write_bytes, write_json
from worldmodel.tasks.task import Task
from worldmodel.types import Array

FILE, CONTRACT = "policy.onnx", "contract.json"
OPSET, IR = 17, 8  # old enough for every runtime since 2022


def export(folder: Path, policy: Actor | Cloned, task: Task) -> None:
    """Writes ``policy.onnx`` and ``contract.json``, which the former holds too.

    The network takes ``observation``, (batch, history · observed) float32, the oldest first, and
    answers with ``action``, (batch, chunk · action), the next one first.

    Raises:
      InputError: the extra ``[onnx]`` is not installed; the policy observes or commands another
        number of things than the task.
      FileExistsError: the folder exists.
    """
    onnx = _module("onnx")
    history, chunk = _memory(policy)
    observed, action = np.size(policy.centre), task.action_size
    if observed != task.observation_size or _size(policy) != chunk * action:
        raise InputError(
            f"the policy observes {observed} numbers and decides {_size(policy)}; task "
            f"'{task.name}' has {task.observation_size} and {chunk * action}: export a policy of it"
        )
    described = contract(task) | {"history": history, "chunk": chunk}
    nodes, constants = _graph(onnx, policy, history)
    kind = onnx.TensorProto.FLOAT
    model = onnx.helper.make_model(
        onnx.helper.make_graph(
            nodes,
            task.name,
            [onnx.helper.make_tensor_value_info("observation", kind, [None, history * observed])],
            [onnx.helper.make_tensor_value_info("action", kind, [None, chunk * action])],
            [onnx.numpy_helper.from_array(x, name) for name, x in constants.items()],
        ),
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        ir_version=IR,
    )
    onnx.helper.set_model_props(model, {"contract": json.dumps(described)})
    onnx.checker.check_model(model)
    with new_folder(folder) as place:
        write_bytes(place / FILE, model.SerializeToString())
        write_json(place / CONTRACT, described)


@dataclasses.dataclass(frozen=True)
class OnnxPolicy:
    """A policy that ``onnxruntime`` runs."""

    session: Any  # onnxruntime.InferenceSession
    history: int
    chunk: int
    observed: int
    traceable = False

    def init(self, observation: Array, key: Array) -> Any:
        """Observations (history, observed), actions decided on, how many of them were played.

        Raises:
          InputError: an observation of another size.
        """
        del key
        if np.shape(observation) != (self.observed,):
            raise InputError(
                f"the policy observes {self.observed} numbers, the task gives it "
                f"{np.shape(observation)}; export one of this task"
            )
        past = np.broadcast_to(np.asarray(observation), (self.history, self.observed))
        return past, np.zeros((self.chunk, 0)), self.chunk

    def act(self, carry: Any, observation: Array, key: Array) -> tuple[Array, Any]:
        """The next action of the chunk; a new chunk where all were played."""
        del key
        past, decided, played = carry
        past = np.concatenate([past[1:], np.asarray(observation)[None]])
        if played >= self.chunk:
            decided, played = self.actions(past), 0
        return decided[played], (past, decided, played + 1)

    def actions(self, past: Array) -> np.ndarray:
        """Observations (…, history, observed) → the next actions (…, chunk, action)."""
        batch = np.shape(past)[:-2]
        rows = np.asarray(past, np.float32).reshape(-1, self.history * self.observed)
        (out,) = self.session.run(["action"], {"observation": rows})
        return out.reshape(*batch, self.chunk, -1).astype(float)


def load(folder: Path, task: Task) -> OnnxPolicy:
    """Reads an exported policy for a task.

    Raises:
      InputError: the extra ``[onnx]`` is not installed; no such file, or one that is damaged,
        carries no contract, or one of another task; the message names each number that one of the
        two lacks.
    """
    file = folder / FILE
    runtime = _module("onnxruntime")
    try:
        session = runtime.InferenceSession(file.read_bytes(), providers=["CPUExecutionProvider"])
        described = json.loads(session.get_modelmeta().custom_metadata_map["contract"])
        history, chunk = int(described["history"]), int(described["chunk"])
        ours = [contract(task)[name] for name in ("observation", "action")]
        shapes = [x.shape[1] for x in (*session.get_inputs(), *session.get_outputs())]
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}; `worldmodel export` writes one") from error
    except KeyError as error:
        raise InputError(
            f"{file} carries no contract ({error}); export the policy with `worldmodel export`"
        ) from error
    except Exception as error:  # onnxruntime raises many types on a damaged file
        raise InputError(f"{file} is no ONNX file that runs here ({error})") from error
    check(described, task, f"{file}")
    if shapes != [history * len(ours[0]), chunk * len(ours[1])]:
        raise InputError(
            f"{file} takes {shapes[0]} numbers and answers with {shapes[-1]}, unlike its contract; "
            "export the policy anew"
        )
    return OnnxPolicy(session, history, chunk, len(ours[0]))


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{name} is not installed; pip install 'worldmodel[onnx]'") from error


def _memory(policy: Actor | Cloned) -> tuple[int, int]:
    return (policy.history, policy.chunk) if isinstance(policy, Cloned) else (1, 1)


def _size(policy: Actor | Cloned) -> int:
    return np.size(_layers(policy)[-1][1])


def _layers(policy: Actor | Cloned) -> list[tuple[Array, Array]]:
    if isinstance(policy, Actor):
        return list(policy.layers)
    dense = policy.weights["params"]
    return [(dense[f"Dense_{i}"]["kernel"], dense[f"Dense_{i}"]["bias"]) for i in range(len(dense))]


def _graph(onnx: Any, policy: Actor | Cloned, history: int) -> tuple[list[Any], dict[str, Any]]:
    """The nodes of a policy and its constants: (x − centre) / scale, layers between activations."""
    learned = isinstance(policy, Actor)  # swish, and tanh at the end; of a clone tanh, and nothing
    layers = _layers(policy)
    constants = {"centre": np.tile(policy.centre, history), "scale": np.tile(policy.scale, history)}
    make = onnx.helper.make_node
    nodes = [
        make("Sub", ["observation", "centre"], ["centred"]),
        make("Div", ["centred", "scale"], ["x0"]),
    ]
    for i, (kernel, bias) in enumerate(layers):
        constants |= {f"kernel{i}": kernel, f"bias{i}": bias}
        final = i == len(layers) - 1
        out = "action" if final else f"x{i + 1}"
        linear = out if final and not learned else f"linear{i}"
        nodes.append(make("Gemm", [f"x{i}", f"kernel{i}", f"bias{i}"], [linear]))
        if learned and not final:
            nodes.append(make("Sigmoid", [linear], [f"gate{i}"]))
            nodes.append(make("Mul", [linear, f"gate{i}"], [out]))
        elif linear != out:
            nodes.append(make("Tanh", [linear], [out]))
    return nodes, {name: np.asarray(x, np.float32) for name, x in constants.items()}
