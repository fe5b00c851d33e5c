"""When a backward option pays: a bounce, a toss, a contact that has not happened yet.

Question: where is the plain derivative of a contact not the useful one, and what is?
Command:  python -m experiments.gradients.useful --out experiments/results/gradients/useful
Runtime:  ten minutes on 2 cores
Expected: bounce: the plain slope is wrong in size and sign at every timestep, the time of the
          touch corrects it; toss: plain is good, the time of the touch a little better; a push
          starts only from distance or from values

*Bounce*: slope of the height after 0.4 s in the drop height. The reference is the slope of the
simulator's own values over ±1 cm; estimates are taken at 41 heights there. *Toss*: slopes of a
cube's final position and velocity in its start velocity; the reference is a regression on 400
tosses by C MuJoCo at 5 kHz. *Frames*: slope of the mean squared difference of two bouncing balls'
whole paths, many bounces long, in the damping ratio, the purpose of a Jacobian cut-off. *Push*: 100
Adam steps on forces, from zero.

OUT gets useful.json (every row), useful.md and useful.png.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import tyro

from experiments.gradients.useful_problems import (
    DROP,
    NEAR,
    PIECES,
    TOSS_QVEL,
    TOSS_SPREAD,
    bounce,
    bounce_by_c,
    push,
    toss,
    toss_by_c,
)
from experiments.recordings.film import BLUE, GREEN, GREY, ORANGE, caption, pyplot, save
from worldmodel import runtime
from worldmodel.finetune.smoothed_gradient import smoothed_gradient
from worldmodel.physics import Backward
from worldmodel.runtime import files

PLAIN, DISTANCE = Backward(), Backward(contact_width=0.01)
TOUCHES = {f"touch, {speed} m/s": Backward(touch_speed=speed) for speed in (0.1, 0.3)}
TIMESTEPS = (2e-3, 5e-4)  # [s]
SOLREFS = ((0.02, 0.3), (0.02, 0.5), (0.02, 1.0), (0.005, 0.3))  # [s], damping ratio
FINE = 2e-5  # [s] of C MuJoCo's reference
HEIGHTS = np.linspace(DROP - NEAR, DROP + NEAR, 41)
PAIRS = 16  # of a blend
LONG = 1.5  # [s] of the frames' balls
STEPS, RATE = 100, 0.1  # Adam [N]


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    seed: int = 0


def estimate(values: np.ndarray) -> dict[str, float]:
    """Mean and spread of slopes; how many are finite."""
    good = values[np.isfinite(values)]
    return {"mean": float(good.mean()), "spread": float(good.std()), "finite": len(good)}


def bounces(seed: int) -> list[dict]:
    """One row per timestep, contact and estimate."""
    options = {"plain": PLAIN, "from distance, 1 cm": DISTANCE} | TOUCHES
    keys = jax.random.split(jax.random.key(seed), len(HEIGHTS))
    rows = []
    for dt in TIMESTEPS:

        def last(
            solref: jax.Array, height: jax.Array, backward: Backward = PLAIN, dt: float = dt
        ) -> jax.Array:
            return bounce(dt, backward, solref, height)[-1]

        def blended(solref: jax.Array, height: jax.Array, key: jax.Array) -> tuple:
            estimates = smoothed_gradient(
                functools.partial(last, solref), height, key, sigma=NEAR / 2, samples=PAIRS
            )
            return estimates.gradient, estimates.first, estimates.zeroth

        slopes = {
            name: jax.jit(
                jax.vmap(
                    jax.value_and_grad(functools.partial(last, backward=backward), 1), (None, 0)
                )
            )
            for name, backward in options.items()
        }
        blend = jax.jit(jax.vmap(blended, (None, None, 0)))
        for solref in SOLREFS:
            x = jnp.asarray(solref), jnp.asarray(HEIGHTS)
            by_option = {name: slope(*x) for name, slope in slopes.items()}
            wanted = np.polyfit(HEIGHTS, np.asarray(by_option["plain"][0]), 1)[0]
            fine = np.polyfit(HEIGHTS, bounce_by_c(FINE, np.array(solref), HEIGHTS), 1)[0]
            at = {name: np.asarray(slope) for name, (_, slope) in by_option.items()}
            of = blend(x[0], jnp.asarray(DROP), keys)
            named = zip(("blend", "first order", "zeroth order"), map(np.asarray, of), strict=True)
            at |= dict(named)
            common = {"dt": dt, "solref": solref, "wanted": float(wanted), "fine": float(fine)}
            rows += [{"estimate": name, **estimate(v), **common} for name, v in at.items()]
            runtime.log(f"bounce at {dt} s, solref {solref}: wanted {wanted:.3f}")
    return rows


def frames() -> list[dict]:
    """Slopes in the damping ratio of a loss over every frame of many bounces."""
    heights = jnp.asarray(HEIGHTS)
    ratio, rows = 0.15, []
    options = {"plain": PLAIN, "touch, 0.1 m/s": Backward(touch_speed=0.1)}
    options |= {f"Jacobian ≤ {x}": Backward(jacobian_limit=x) for x in (1.25, 1.3, 1.5)}
    for name, backward in options.items():

        def loss(ratio: jax.Array, height: jax.Array, backward: Backward = backward) -> jax.Array:
            solref = jnp.array([0.01, 1.0]).at[1].set(ratio)
            other = jax.lax.stop_gradient(solref).at[1].set(0.3)
            path = bounce(2e-3, backward, solref, height, LONG)
            return jnp.mean(jnp.square(path - bounce(2e-3, PLAIN, other, height, LONG)))

        run = jax.jit(jax.vmap(jax.value_and_grad(loss), (None, 0)))
        ratios = np.linspace(ratio - 0.03, ratio + 0.03, 25)
        _, slope = run(jnp.asarray(ratio), heights)
        if name == "plain":
            values = [float(run(jnp.asarray(r), heights)[0].mean()) for r in ratios]
            wanted = float(np.polyfit(ratios, values, 1)[0])
        rows.append({"estimate": name, "wanted": wanted, **estimate(np.asarray(slope))})
        runtime.log(f"frames, {name}: {rows[-1]['mean']:.3g}, wanted {wanted:.3g}")
    return rows


def tosses(seed: int) -> list[dict]:
    """Per estimate: direction and size of the mean slopes of six outputs."""
    noise = np.random.default_rng(seed).normal(size=(400, 6))
    design = np.column_stack([np.ones(len(noise)), noise])
    values = toss_by_c(5000.0, TOSS_QVEL + TOSS_SPREAD * noise)
    wanted = np.linalg.lstsq(design, values, rcond=None)[0][1:].T  # per spread
    options = {"plain": PLAIN, "from distance, 2 mm": Backward(contact_width=0.002)}
    options |= {"from distance, 1 cm": DISTANCE} | TOUCHES
    starts = jnp.asarray(TOSS_QVEL + TOSS_SPREAD * noise[:64])
    rows = []
    for name, backward in options.items():
        slopes = jax.jit(jax.vmap(jax.jacfwd(functools.partial(toss, 500.0, backward))))(starts)
        slopes = np.asarray(slopes) * TOSS_SPREAD
        mean = slopes.mean(0)
        norms = np.linalg.norm(mean, axis=1), np.linalg.norm(wanted, axis=1)
        rows.append(
            {
                "estimate": name,
                "cosine": ((mean * wanted).sum(1) / norms[0] / norms[1]).tolist(),
                "size": (norms[0] / norms[1]).tolist(),
            }
        )
        runtime.log(f"toss, {name}: cosines {np.round(rows[-1]['cosine'], 3)}")
    return rows


def pushes(seed: int) -> list[dict]:
    """Adam on a plan whose pusher does not touch yet; the loss at every step."""

    def grad_of(backward: Backward) -> Callable:
        grad = jax.grad(functools.partial(push, backward))
        return lambda plan, key: grad(plan)

    def blend(plan: jax.Array, key: jax.Array) -> jax.Array:
        loss = functools.partial(push, PLAIN)
        return smoothed_gradient(loss, plan, key, sigma=0.3, samples=PAIRS).gradient

    options: dict[str, Callable] = {
        "plain": grad_of(PLAIN),
        "touch, 0.1 m/s": grad_of(TOUCHES["touch, 0.1 m/s"]),
        "from distance, 1 cm": grad_of(DISTANCE),
        "from distance, 2 cm": grad_of(Backward(contact_width=0.02)),
        "blend": blend,
    }
    rows = []
    adam = optax.adam(RATE)
    for name, gradient in options.items():

        def step(carry: tuple, key: jax.Array, gradient: Callable = gradient) -> tuple:
            plan, state = carry
            slope = gradient(plan, key)
            change, state = adam.update(slope, state)
            out = push(PLAIN, plan), jnp.linalg.norm(slope)
            return (optax.apply_updates(plan, change), state), out

        plan = jnp.zeros(PIECES)
        keys = jax.random.split(jax.random.key(seed), STEPS)
        run = jax.jit(functools.partial(jax.lax.scan, step))
        _, (loss, norm) = run((plan, adam.init(plan)), keys)
        distance = np.sqrt(np.asarray(loss))
        rows.append(
            {"estimate": name, "first_gradient": float(norm[0]), "distance": distance.tolist()}
        )
        runtime.log(f"push, {name}: {distance[0]:.3f} → {distance[-1]:.3f} m")
    return rows


def markdown(result: dict) -> str:
    """useful.md as text."""
    lines = ["# Useful gradients, measured", "", f"`{result['command']}`", ""]
    run = result["provenance"]
    lines += [f"Commit {run['commit'][:12]}, {run['date']}. Generated from useful.json.", ""]
    lines += ["## Bounce: slope of the height after the bounce in the drop height", ""]
    names = list(dict.fromkeys(r["estimate"] for r in result["bounce"]))
    lines += [f"| timestep | solref | wanted | fine | {' | '.join(names)} |"]
    lines += ["|---" * (len(names) + 4) + "|"]
    for at in range(0, len(result["bounce"]), len(names)):
        group = result["bounce"][at : at + len(names)]
        first = group[0]
        shown = " | ".join(f"{r['mean']:.3g} ± {r['spread']:.2g}" for r in group)
        lines += [
            f"| {1e3 * first['dt']:g} ms | {first['solref'][0]:g}, {first['solref'][1]:g} "
            f"| {first['wanted']:.2f} | {first['fine']:.2f} | {shown} |"
        ]
    lines += ["", "*wanted*: of the simulator's values over ± 1 cm; *fine*: of C MuJoCo's at"]
    lines += ["20 µs; ±: over 41 heights, or 41 draws of 16 pairs.", ""]
    lines += ["## Frames: a loss over many bounces in the damping ratio", ""]
    lines += ["| estimate | wanted | mean | spread |", "|---|---|---|---|"]
    lines += [
        f"| {r['estimate']} | {r['wanted']:.3g} | {r['mean']:.3g} | {r['spread']:.3g} |"
        for r in result["frames"]
    ]
    lines += ["", "## Toss: cosine, and size as a multiple of the wanted, of six slopes", ""]
    lines += ["| estimate | x | y | z | vx | vy | vz |", "|---|---|---|---|---|---|---|"]
    for r in result["toss"]:
        cells = [f"{c:.3f}, {s:.2f}×" for c, s in zip(r["cosine"], r["size"], strict=True)]
        lines += [f"| {r['estimate']} | {' | '.join(cells)} |"]
    lines += ["", f"## Push: distance from the target after {STEPS} Adam steps", ""]
    lines += ["| estimate | first gradient | start [m] | end [m] |", "|---|---|---|---|"]
    lines += [
        f"| {r['estimate']} | {r['first_gradient']:.2g} | {r['distance'][0]:.3f} "
        f"| {r['distance'][-1]:.4f} |"
        for r in result["push"]
    ]
    return "\n".join(lines) + "\n"


def draw(result: dict, path: Path) -> None:
    """Slopes of the bounce and their reference; progress of the pushes."""
    figure, (slope_axis, push_axis) = pyplot.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
    marks = {
        "plain": (GREY, "o"),
        "from distance, 1 cm": (ORANGE, "s"),
        "touch, 0.1 m/s": (BLUE, "^"),
        "blend": (GREEN, "D"),
    }
    groups = [r for r in result["bounce"] if r["estimate"] == "plain"]
    places = np.arange(len(groups))
    slope_axis.plot(places, [r["wanted"] for r in groups], "k_", markersize=26, label="wanted")
    for i, (name, (colour, mark)) in enumerate(marks.items()):
        rows = [r for r in result["bounce"] if r["estimate"] == name]
        slope_axis.errorbar(
            places + 0.16 * i - 0.24,
            [r["mean"] for r in rows],
            [r["spread"] for r in rows],
            fmt=mark,
            color=colour,
            label=name,
        )
    labels = [f"{1e3 * r['dt']:g} ms\n{r['solref'][0]:g} s\n{r['solref'][1]:g}" for r in groups]
    slope_axis.set_xticks(places, labels)
    slope_axis.set_yscale("symlog", linthresh=1.0)
    slope_axis.set(ylim=(-100.0, 10.0), ylabel="slope of the height after the bounce [m/m]")
    slope_axis.set_xlabel("timestep, contact's time constant, damping ratio")
    slope_axis.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=5)
    styles = [(GREY, "-"), (BLUE, ":"), (ORANGE, "--"), (ORANGE, "-"), (GREEN, "-.")]
    for r, (colour, style) in zip(result["push"], styles, strict=True):
        push_axis.plot(r["distance"], linestyle=style, color=colour, label=r["estimate"])
    push_axis.set(xlabel="Adam step", ylabel="block to target [m]", ylim=(0.0, None))
    push_axis.legend(fontsize=8)
    text = "Left: mean and spread over 41 drops, and what 2 cm of drop height are worth. Right: a "
    text += "pusher that does not touch its block yet, planned by gradient descent from zero force."
    caption(figure, result, text)
    save(figure, path, dpi=150)


def main(args: Args) -> int:
    """Measures and writes; prints one JSON line."""
    runtime.configure()
    result = {
        "command": f"python -m experiments.gradients.useful --out {args.out} --seed {args.seed}",
        "provenance": runtime.provenance(),
        "push": pushes(args.seed),
        "bounce": bounces(args.seed),
        "frames": frames(),
        "toss": tosses(args.seed),
    }
    args.out.mkdir(parents=True, exist_ok=True)
    files.write_json(args.out / "useful.json", result)
    files.write_text(args.out / "useful.md", markdown(result))
    draw(result, args.out / "useful.png")
    print(json.dumps({"out": str(args.out), "rows": sum(map(len, list(result.values())[2:]))}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, tyro.cli(Args, description=__doc__)))
