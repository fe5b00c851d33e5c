"""``worldmodel export``: a policy as an ONNX file, for a robot that runs no JAX."""

from pathlib import Path
from typing import Any

import numpy as np
import tyro

from worldmodel import runtime
from worldmodel.commands import named
from worldmodel.commands.train import kept_policy
from worldmodel.errors import InputError
from worldmodel.policies import onnx_policy

CLOSE = 1e-5  # difference of an action, of ONNX's and JAX's arithmetic
ROWS = 1000


def export(
    task: tyro.conf.Positional[str],
    policy: Path,
    out: Path,
) -> dict[str, Any]:
    """Writes a trained policy as ONNX with its contract, and compares both on random observations.

    Args:
      task: file.py:name or package.module:name.
      policy: folder of train, by clone, ppo or gradient.
      out: folder for policy.onnx and contract.json; deploy takes it as a policy.

    Raises:
      InputError: references or policies that do not fit; the folder exists; onnx or onnxruntime
        is not installed; the two policies differ.
    """
    asked = named.task(task)
    with named.contract(asked):
        trained = kept_policy(policy, asked)
        if out.exists():
            raise InputError(f"--out {out} is there already; give a new folder")
        onnx_policy.export(out, trained, asked)
        exported = onnx_policy.load(out, asked)
    shape = ROWS, exported.history, exported.observed
    rows = np.random.default_rng(0).normal(size=shape)
    seen = rows * np.asarray(trained.scale) + np.asarray(trained.centre)
    difference = float(np.abs(exported.actions(seen) - np.asarray(trained.actions(seen))).max())
    if not difference <= CLOSE:
        raise InputError(f"{out}: ONNX differs by {difference:.2g} from the policy; do not use it")
    runtime.log(f"{ROWS} random observations: largest difference of an action {difference:.2g}")
    return {"out": str(out), "difference": difference}
