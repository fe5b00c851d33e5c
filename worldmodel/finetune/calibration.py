"""A log's calibrations after a fit: from the parameters into the columns that read the log."""

import dataclasses
from typing import TypeVar

import jax

from worldmodel.episodes.columns import Columns, ColumnsError, Command, Joint
from worldmodel.model import Parameters, WorldModel
from worldmodel.model.calibration import calibrates, calibration, without_calibrations
from worldmodel.physics.kinds import CALIBRATIONS, KINDS
from worldmodel.scene.names import element_name

_Channel = TypeVar("_Channel", Joint, Command)


def folded(
    columns: Columns, world: WorldModel, parameters: Parameters
) -> tuple[Columns, WorldModel, Parameters]:
    """Columns that read the log in the robot's own coordinates, and the model without its
    calibrations: on episodes that are read again they predict what the arguments did.

    Args:
      columns: those that read the episodes of the fit.
      world: its free parameters may hold calibrations.
      parameters: of ``world``.

    Raises:
      ColumnsError: a calibrated joint or actuator that the columns do not name.
    """
    if not calibrates(world.free):
        return columns, world, parameters
    m = world.scene.mj_model
    named = {"joint": {j.name for j in columns.joints}}
    named["actuator"] = {c.name for c in columns.commands}
    for f in world.free:
        element = KINDS[f.kind].element
        if f.kind in CALIBRATIONS and f.element not in named[element]:
            raise ColumnsError(f"{f.name} is fitted, but the columns have no {element} {f.element}")
    maps = calibration(world.scene, world.free, parameters["physics"])
    joint = {element_name(m, "joint", i): q for i, q in enumerate(m.jnt_qposadr)}
    actuator = {element_name(m, "actuator", u): u for u in range(m.nu)}
    of_joints, of_commands = (maps.qpos_scale, maps.qpos_zero), (maps.ctrl_scale, maps.ctrl_zero)
    read = dataclasses.replace(
        columns,
        joints=tuple(_moved(j, *of_joints, joint[j.name]) for j in columns.joints),
        commands=tuple(_moved(c, *of_commands, actuator[c.name]) for c in columns.commands),
    )
    free = without_calibrations(world.free)
    network = parameters["network"]
    if world.learns:
        network = network | {"physics": {f.name: network["physics"][f.name] for f in free}}
    physics = {f.name: parameters["physics"][f.name] for f in free}
    moved = {"physics": physics, "network": network}
    return read, dataclasses.replace(world, free=free), moved


def _moved(channel: _Channel, scales: jax.Array, zeros: jax.Array, at: int) -> _Channel:
    """A column that reads (value − zero) / scale where it read ``value``."""
    scale, zero = float(scales[at]), float(zeros[at])
    offset = (channel.offset - zero) / scale
    moved = dataclasses.replace(channel, scale=channel.scale / scale, offset=offset)
    if isinstance(moved, Joint) and moved.assumed is not None:
        return dataclasses.replace(moved, assumed=(moved.assumed - zero) / scale)
    return moved
