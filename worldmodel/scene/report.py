"""What a scene will cost in MJX, before anything compiles: slots, rows, memory, compile time.

Slots and rows are exact. Memory and compile time are estimates: ``worldmodel.scene.cost`` states
how far off they were.
"""

import dataclasses
import warnings
from typing import TYPE_CHECKING

import jax.numpy as jnp

from worldmodel._mujoco import mujoco
from worldmodel.scene import cost
from worldmodel.scene.advice import MANY_SLOTS, advice, describe_bytes, fewer_slots
from worldmodel.scene.collisions import POINTS, Allocation, Rows, allocation
from worldmodel.scene.errors import SceneError, SceneWarning
from worldmodel.scene.names import type_names

if TYPE_CHECKING:
    from worldmodel.scene.scene import Scene

MEMORY_LIMIT = 8e9  # [bytes] for one step of one environment: what a laptop or a small GPU has


@dataclasses.dataclass(frozen=True)
class Report:
    """What ``report`` counts and estimates; ``str`` gives a table."""

    name: str
    nv: int  # degrees of freedom
    by_types: dict[str, tuple[int, int, int]]  # geom pairs that may touch, by types as "box–mesh",
    # the worst first: how many; their slots before any <numeric> limit, 0 where MJX has no
    # collision function; bytes of the collisions' temporary arrays, float64, an estimate
    slots: int  # contact slots that MJX allocates
    slots_by_condim: dict[int, int]
    rows: Rows
    step_bytes: int  # temporary memory of one step of one environment, float64; estimate
    gradient_bytes: int  # the same of its reverse-mode gradient; estimate
    step_compile_s: float  # [s] on one CPU core; estimate
    gradient_compile_s: float  # [s] the same of the gradient, its forward pass included
    solver: str  # its name, cone, iterations and tolerance
    advice: tuple[str, ...]  # what to drop or replace; the worst first

    def __str__(self) -> str:
        details = [f"{n} of condim {dim}" for dim, n in self.slots_by_condim.items()]
        rows, totals = self.rows, list(self.by_types.values())
        if (all_slots := sum(slots for _, slots, _ in totals)) > self.slots:
            details.append(f"of {all_slots}, limited by <numeric>")
        lines = [
            f"scene '{self.name}': {self.nv} degrees of freedom, "
            f"{sum(n for n, _, _ in totals)} geom pairs",
            *([f"{'pair type':<22}{'pairs':>7}{'slots':>7}{'memory':>10}"] if totals else []),
        ]
        for kind, (n, slots, size) in self.by_types.items():
            lines.append(f"{kind:<22}{n:>7}{slots:>7}{describe_bytes(size):>10}")
        lines += [
            f"contact slots: {self.slots}" + (f" ({', '.join(details)})" if details else ""),
            f"constraint rows: {rows.total} (equality {rows.equality}, friction loss "
            f"{rows.friction}, limits {rows.limit}, contacts {rows.contact})",
            "memory of one environment in float64, about (float32: half): step "
            f"{describe_bytes(self.step_bytes)}, gradient {describe_bytes(self.gradient_bytes)}",
            f"compile time on one core, roughly: step {self.step_compile_s:.0f} s, "
            f"gradient {self.gradient_compile_s:.0f} s",
            f"solver: {self.solver}",
        ]
        if self.advice:
            lines += ["drop or replace:", *(f"  {remedy}" for remedy in self.advice)]
        return "\n".join(lines)


def report(scene: "Scene | mujoco.MjModel") -> Report:
    """Counts slots and rows, estimates memory and compile time, and advises; compiles nothing.

    Args:
      scene: a loaded scene; or a compiled MuJoCo model, also one that ``load_scene`` refuses.
    """
    model: mujoco.MjModel = getattr(scene, "mj_model", scene)
    counts = allocation(model)
    return Report(
        name=model.names.split(b"\0", 1)[0].decode(),
        nv=model.nv,
        by_types=_by_types(counts),
        slots=counts.slots,
        slots_by_condim=counts.slots_by_condim,
        rows=counts.rows,
        step_bytes=cost.step_bytes(counts),
        gradient_bytes=cost.gradient_bytes(counts),
        step_compile_s=cost.compile_seconds(counts, gradient=False),
        gradient_compile_s=cost.compile_seconds(counts, gradient=True),
        solver=_solver(model),
        advice=tuple(advice(counts)),
    )


def check_size(model: mujoco.MjModel) -> None:
    """Refuses a model whose step would not fit into memory, and warns of one with many slots.

    Counts in JAX's default precision. Call it before ``mjx.put_model``.

    Raises:
      SceneError: one step of one environment needs more than ``MEMORY_LIMIT``; the message names
        what takes most of it, the sizes of its hulls and the remedy.
    """
    counts = allocation(model)
    size = cost.step_bytes(counts)
    if jnp.result_type(float) == jnp.float32:
        size //= 2
    if size > MEMORY_LIMIT:
        remedies = advice(counts) or [f"it has {counts.rows.total} constraint rows, too many"]
        raise SceneError(
            f"one step of one environment would take about {describe_bytes(size)} in MJX, more "
            f"than {describe_bytes(MEMORY_LIMIT)}: {remedies[0]}"
        )
    if counts.slots > MANY_SLOTS:
        warnings.warn(
            f"{counts.slots} contact slots with {counts.rows.contact} constraint rows are computed "
            f"in every step, whether they touch or not: {fewer_slots(counts)}",
            SceneWarning,
            stacklevel=4,  # whoever calls load_scene
        )


def _by_types(counts: Allocation) -> dict[str, tuple[int, int, int]]:
    totals = {}
    for group in counts.groups:
        kind, pairs = type_names(group.types), len(group.pairs)
        n, slots, size = totals.get(kind, (0, 0, 0))
        slots += pairs * POINTS.get(group.types, 0)
        totals[kind] = (n + pairs, slots, size + cost.group_bytes(group, counts))
    return dict(sorted(totals.items(), key=lambda item: item[1][:0:-1], reverse=True))


def _solver(model: mujoco.MjModel) -> str:
    option = model.opt
    name = mujoco.mjtSolver(option.solver).name.removeprefix("mjSOL_").replace("NEWTON", "Newton")
    cone = mujoco.mjtCone(option.cone).name.removeprefix("mjCONE_").lower()
    return (
        f"{name}, {cone} cone, iterations {option.iterations}, "
        f"ls_iterations {option.ls_iterations}, tolerance {option.tolerance:g}"
    )
