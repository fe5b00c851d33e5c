"""Work in batches on whatever devices and processes there are: five windows and five episodes.

Command:  python -m tests.helpers.batched_work --out FOLDER [--whole]
"""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from tests.helpers.doors import MASS, door, door_windows
from tests.helpers.learned_models import SMALL, one_member, shaken
from tests.helpers.small_tasks import Going, Reach
from worldmodel import loop, runtime
from worldmodel.episodes.errors import Angle, Channels
from worldmodel.finetune.adam import FitConfig, fit
from worldmodel.finetune.engines import make_engine
from worldmodel.model import Displacement, WorldModel, init
from worldmodel.model.ensemble import make_forecaster, make_simulator
from worldmodel.runtime import devices
from worldmodel.runtime.records import write_arrays

COUNT = 5  # no multiple of the devices
MEMBERS = (2, 4, 3)  # of ensembles; three do not divide eight devices


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path  # for work.npz
    whole: bool = False  # derivatives and a fit too, which compile for a minute


def work(args: Args) -> dict[str, np.ndarray]:
    """What does not depend on where it is computed."""
    if args.whole:
        return {**episodes(), **rows(), **ensembles(), **derivatives(), **fitted(args.out / "fit")}
    return {**episodes(), **rows(), **ensembles()}


def rows() -> dict[str, np.ndarray]:
    """Batches of many sizes, fewer and more than there are devices."""
    out = {}
    for count in (1, 5, 8, 21, 64):
        x = np.arange(count * 1.0)
        out[f"rows{count}"] = devices.in_batches(heavy, 4, jnp.ones(3), x)["sum"]
    return out


def ensembles() -> dict[str, np.ndarray]:
    """Of two, four and three members: forecasts of windows, and episodes that they take turns with;
    and rows of their own, more and fewer than there are devices."""
    out = {}
    for count in MEMBERS:
        network = dataclasses.replace(SMALL, members=count)
        world = WorldModel(door(), MASS, correction=Displacement(), network=network)
        parameters = shaken(init(world, jax.random.key(0)))
        forecast = make_forecaster(world, 2)(parameters, door_windows(COUNT))
        out[f"members{count}"], out[f"spread{count}"] = forecast.members, forecast.deviation
        qpos, ctrl = np.linspace(0.1, 0.5, COUNT)[:, None], np.zeros((COUNT, 3, 1))
        out[f"turns{count}"] = make_simulator(world, 2)(parameters, qpos, ctrl).qpos
        for rows in (1, 21):
            x = np.arange(1.0 * count * rows).reshape(count, rows)
            each = list(np.eye(count))
            out[f"own{count}x{rows}"] = devices.over_members(heavy, 4, each, x)["sum"]
    return out


@jax.jit
def heavy(fixed: jax.Array, x: jax.Array) -> dict[str, jax.Array]:
    """Of each row, with temporaries of 8 kB."""
    table = jnp.outer(x, jnp.arange(1000.0))
    return {"sum": jax.lax.sort(table % 7.0, dimension=1) @ jnp.arange(1000.0) * fixed.sum()}


def temporary_bytes() -> int:
    """On each device, of 64 rows over all of them."""
    x = devices.split(np.arange(64.0))
    compiled = jax.jit(devices.over_devices(heavy)).lower(jnp.ones(3), x).compile()
    analysis = compiled.memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def episodes() -> dict[str, np.ndarray]:
    """Of a task, in MJX."""
    task = Reach()
    world = WorldModel(task.scene)
    version = loop.Version("v0", None, world, init(world, jax.random.key(0)), 0)
    starts, goals = loop.draw(task, jax.random.key(1), COUNT)
    policy = Going(goals["target"])
    played = loop.generate(version, task, policy, starts, goals, jax.random.key(2), engine="mjx")
    return {"qpos": np.stack([episode.qpos for episode in played])}


def derivatives() -> dict[str, np.ndarray]:
    """Of the errors of windows in a mass and in their starts."""
    engine = make_engine(WorldModel(door(), MASS), "mjx", 2)
    shift = 0.01 * np.arange(2.0 * COUNT).reshape(COUNT, 2)
    error, slope = engine.slopes(np.array([0.3]), shift, door_windows(COUNT))
    return {"error": error, "slope": slope}


def fitted(folder: Path) -> dict[str, np.ndarray]:
    """A mass and a network by two steps of Adam; it goes on from ``folder`` after the first."""
    world = WorldModel(door(), MASS, correction=Displacement(), network=SMALL)
    origin = one_member(world)
    rows: list[dict[str, Any]] = []

    def fit_to(steps: int) -> Any:
        windows = door_windows(COUNT)
        windows.ctrl[:] = np.arange(COUNT)[:, None, None]
        config = FitConfig(steps=2, batch=COUNT, validate_every=1, checkpoint_every=1)
        return fit(
            world,
            origin,
            Channels(joints=(Angle("hinge", 0),)),
            windows,
            windows,
            config,
            folder,
            metadata={"scene": "door", "settings": {}},
            record=rows.append,
            stop=lambda: len(rows) == steps,
        )

    try:
        fit_to(1)
    except runtime.Interrupted:
        state = fit_to(2)
    else:
        raise AssertionError("the first step did not stop it")
    leaves = [np.asarray(x).ravel() for x in jax.tree.leaves(state.parameters)]
    losses = [[row["loss"], row["validation"]] for row in rows]
    return {"parameters": np.concatenate(leaves), "losses": np.array(losses)}


def main(args: Args, stop: Callable[[], bool] = lambda: False) -> int:
    """Works; prints one JSON line."""
    runtime.configure()
    args.out.mkdir(parents=True, exist_ok=True)
    write_arrays(args.out / "work.npz", work(args))
    devices.log_memory()
    counted: dict[str, Any] = {"devices": jax.device_count(), "processes": jax.process_count()}
    split = (devices.split_members([np.zeros(3)] * count) for count in MEMBERS)
    counted["members_per_device"] = [x.addressable_shards[0].data.shape[0] for x in split]
    print(json.dumps(counted | {"temporary_bytes": temporary_bytes(), "stop": stop()}))
    return 0


def sweep(add: Callable[..., None]) -> None:
    """One run."""
    add()


if __name__ == "__main__":
    sys.exit(main(tyro.cli(Args)))
