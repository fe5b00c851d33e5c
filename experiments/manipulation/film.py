"""A film: a recorded grasp beside what three versions of the world model predict of it; or policies
that learned to grasp in the model, there and in the held-out reality.

Question: what does each version see happen where the deployed policy's grip slips?
Command:  python -m experiments.manipulation.film --run runs/grasp/seed0
          --out experiments/results/manipulation/film.gif
          python -m experiments.manipulation.film --learned runs/policies/runs/grasp
          --out experiments/results/policies/film.gif
Runtime:  a minute on 2 idle cores; --run is a seed's folder of ``two_turns``, --learned that of a
          task of ``experiments.policies.compare``
Expected: one JSON line, the error of every panel's last frame; v0 carries what falls in reality

Of the corrections of v0 it takes the one with the largest error. The versions start where it
starts, and play the commands that acted, in C MuJoCo. Half the real speed; no OpenGL.
"""

import dataclasses
import functools
import io
import json
import sys
from pathlib import Path

import jax
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon, Rectangle
from PIL import Image

from experiments.manipulation import reality
from worldmodel import loop, runtime
from worldmodel.errors import InputError
from worldmodel.finetune.moved import compiled, packed
from worldmodel.loop.turn import corrections
from worldmodel.model import saved
from worldmodel.policies import actor
from worldmodel.reality.simulated import simulate
from worldmodel.scene.replay import replayed
from worldmodel.tasks.grasp.task import BOX_X, FINGER, HALF, HAND_X, HAND_Z, THUMB, Grasp, distance
from worldmodel.tasks.play import repeated
from worldmodel.tasks.play_c import simulate_in_c
from worldmodel.types import Episode

EVERY, SLOWER = 3, 2.0  # frames of a picture, times
RADIUS, HIGH = 0.01, 0.26  # [m] of a pad, and of what is shown
CORNERS = np.array([(-0.02, -HALF), (0.02, -HALF), (0.02, HALF), (-0.02, HALF)])
RECORDED, OTHER = "#ed8c1f", "#2673d9"  # colours
VERSIONS = ("v0", "v1", "v2")


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    out: Path
    run: Path | None = None
    learned: Path | None = None


def predicted(run: Path, name: str, task: Grasp, episode: Episode) -> np.ndarray:
    """(frames, 7) what a version predicts of an episode from its start and its commands."""
    world, parameters, _ = saved.restore(run / "versions" / name / "checkpoint")
    model = compiled(world)(packed(world, parameters["physics"]))
    rows = (episode.qpos[None, 0], np.zeros((1, 7)), episode.ctrl[None, :-1])
    return np.concatenate([episode.qpos[:1], replayed(model, task.scene.substeps, *rows)[0]])


def draw(axis: Axes, q: np.ndarray, goal: float, colour: str) -> None:
    """The gripper, the box and the goal at one moment."""
    axis.add_patch(Rectangle((-0.3, -0.02), 0.6, 0.02, color="#d0d0d0"))
    axis.add_patch(Rectangle((goal - 0.02, 0), 0.04, 2 * HALF, fill=False, ls=":", ec="#888888"))
    c, s = np.cos(q[BOX_X + 2]), np.sin(q[BOX_X + 2])
    box = CORNERS @ np.array([[c, -s], [s, c]]) + [q[BOX_X], q[BOX_X + 1] + HALF]
    axis.add_patch(Polygon(box, fc=colour, ec="#333333"))
    x, z = q[HAND_X], q[HAND_Z]
    axis.add_patch(Rectangle((x - 0.06, z + 0.08), 0.12, 0.02, color="#555555"))
    for pad in (x - RADIUS - q[THUMB], x + RADIUS + q[FINGER]):
        axis.add_patch(Rectangle((pad - 0.004, z), 0.008, 0.08, color="#777777"))
        axis.add_patch(Circle((pad, z), RADIUS, color="#333333"))
    axis.set(xlim=(-0.22, 0.2), ylim=(-0.02, HIGH), aspect="equal", xticks=[], yticks=[])
    axis.set_frame_on(False)


def picture(poses: dict[str, np.ndarray], frame: int, goal: float, hz: float) -> Image.Image:
    """A panel per version."""
    size = (2.0 * len(poses), 1.7)
    figure = Figure(size, dpi=80)
    axes = figure.subplots(1, len(poses))
    figure.subplots_adjust(0.005, 0.01, 0.995, 1 - 0.3 / size[1], 0.02, 0.02)
    for axis, (name, rows) in zip(axes, poses.items(), strict=True):
        real = name == "recorded" or "reality" in name
        draw(axis, rows[frame], goal, RECORDED if real else OTHER)
        axis.set_title(name, fontsize=10)
    axes[0].text(0.19, HIGH - 0.01, f"{frame / hz:.2f} s", fontsize=8, va="top", ha="right")
    figure.savefig(image := io.BytesIO(), format="png")
    return Image.open(image).convert("RGB").quantize(32)


def versions(run: Path, task: Grasp) -> tuple[dict[str, np.ndarray], float]:
    """(frames, 7) what is recorded, and what each version predicts; () [m] the goal."""
    episodes = corrections(run, task, VERSIONS[0])
    episode = episodes[int(np.argmax([task.error(e) for e in episodes]))]
    poses = {"recorded": episode.qpos}
    poses |= {name: predicted(run, name, task, episode) for name in VERSIONS}
    return poses, float(episode.goal["x"])


def learned(folder: Path, task: Grasp) -> tuple[dict[str, np.ndarray], float]:
    """(frames, 7) of the policies of seed 0 from one start, in the model and in reality; () [m] the
    goal."""
    worlds = {
        "in the model": simulate_in_c(task, task.scene.mj_model),
        "in reality": simulate(task, functools.partial(reality.robot, task, 0)),
    }
    starts, goals = loop.draw(task, jax.random.key(1000), 1)
    poses = {}
    for method, name in (("gradient", "gradients"), ("ppo", "PPO")):
        policy = repeated(actor.restore(folder / f"{method}0" / "policy", task), 1)
        for where, world in worlds.items():
            played = world(policy, starts, goals, jax.random.key(0))
            poses[f"{name}, {where}"] = np.asarray(played.measured.joints[0])
    return poses, float(goals["x"][0])


def main(args: Args) -> int:
    """Draws the film; prints one JSON line."""
    runtime.configure()
    task = Grasp()
    match args.run, args.learned:
        case Path() as run, None:
            poses, goal = versions(run, task)
        case None, Path() as folder:
            poses, goal = learned(folder, task)
        case _:
            raise InputError("give --run or --learned, and not both")
    hz, last = task.scene.control_hz, min(map(len, poses.values())) - 1
    frames = [*range(0, last, EVERY), *[last] * 8]
    first, *more = (picture(poses, frame, goal, hz) for frame in frames)
    pause = round(1e3 * EVERY * SLOWER / hz)
    first.save(args.out, save_all=True, append_images=more, duration=pause, loop=0, optimize=True)
    errors = {n: float(distance(q[-1, BOX_X:], goal, np)) for n, q in poses.items()}
    print(json.dumps({"error_m": errors, "out": str(args.out)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.command(main, __doc__))
