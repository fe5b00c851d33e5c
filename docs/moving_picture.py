"""The README's moving picture: a recorded toss beside what the fitted physics predicts of it.

    python docs/moving_picture.py --data cube_toss.npz

Of the test tosses it takes the one whose position error over the whole toss is the median. The
prediction starts from the first frame alone, in C MuJoCo. A quarter of the real speed; no OpenGL.
"""

import io
from pathlib import Path

import numpy as np
import tyro
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from PIL import Image
from scipy.spatial.transform import Rotation

from worldmodel import runtime
from worldmodel._mujoco import mujoco
from worldmodel.episodes.errors import episode_errors, errors
from worldmodel.episodes.reading import read_episodes
from worldmodel.episodes.split import split
from worldmodel.episodes.windows import WindowGrid
from worldmodel.model import saved
from worldmodel.physics.parameters import to_mjcf
from worldmodel.scene.replay import replayed

CHECKPOINT = (
    Path(__file__).parents[1] / "experiments/results/recordings/cube_toss/physics/checkpoint"
)
PICTURE = Path(__file__).with_name("recorded_and_predicted.gif")
COLOURS = {"recorded": np.array([0.93, 0.55, 0.12]), "predicted": np.array([0.15, 0.45, 0.85])}
SQUARE = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
FACES = np.stack([np.insert(SQUARE, side // 2, 2 * (side % 2) - 1, axis=1) for side in range(6)])
LIGHT = np.array([0.3, -0.6, 0.7])
WHITE = np.repeat([0.0, 0.35, 0.7], 2)[:, None]  # each pair of faces has its own tint
REACH, TILE, HZ, EVERY, SLOWER = 0.13, 0.1, 148.0, 2, 4.0  # [m], [m], [1/s], frames, times


def median_toss(data: Path) -> tuple[str, np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Which test toss has the median error; half the cube's sides (3,) [m]; its error by frame [m];
    its poses by frame (frames, 7), recorded and predicted."""
    runtime.configure()
    world, parameters, metadata = saved.restore(CHECKPOINT)
    protocol, scene = saved.protocol_of(CHECKPOINT, metadata), world.scene
    episodes = read_episodes(data, protocol.columns, scene.mj_model).episodes
    tosses = [episode for episode in episodes if split(episode.id) == "test"]
    windows, _ = WindowGrid(first=0, stride=1, horizon=None).cut(tosses)
    fitted = to_mjcf(scene, world.free, parameters["physics"])
    model = mujoco.MjModel.from_xml_string(fitted)
    rows = replayed(model, scene.substeps, windows.qpos, windows.qvel, windows.ctrl)
    mean = episode_errors(rows, windows, protocol.channels(scene))[:, 0]
    row = np.argsort(mean, kind="stable")[(len(mean) - 1) // 2]
    frames = windows.scored[row]
    poses = {"recorded": windows.target[row][frames], "predicted": rows[row][frames]}
    error = errors(poses["predicted"], poses["recorded"], protocol.channels(scene))["position_m"]
    name = f"episode {tosses[windows.episode[row]].id}, the median of {len(mean)} test tosses"
    caption = f"{name}, {1e3 * mean[row]:.1f} mm on average"
    return caption, model.geom("cube").size, np.asarray(error), poses


def picture(half: np.ndarray, poses: dict[str, np.ndarray], text: str) -> Image.Image:
    """Both panels of a frame, (7,) poses; the view follows the recorded cube over the table."""
    figure, middle = Figure((6.4, 3.45), dpi=92), poses["recorded"][:2]
    view = {"projection": "3d", "proj_type": "ortho", "computed_zorder": False, "elev": 26}
    tiles = np.round(middle / TILE) + np.mgrid[-9:10, -9:10].reshape(2, -1).T
    ground = np.pad((tiles[:, None] + SQUARE / 2) * TILE, ((0, 0), (0, 0), (0, 1)))
    checks = np.where(tiles.sum(1) % 2, "#f4f4f4", "#e4e4e4")
    for place, (name, colour) in enumerate(COLOURS.items()):
        axis = figure.add_axes((0.5 * place + 0.005, 0.085, 0.49, 0.91), **view)
        x, y, z = ((at - REACH, at + REACH) for at in (*middle, REACH))
        axis.set(xlim=x, ylim=y, zlim=z)
        axis.set_box_aspect((1, 1, 1), zoom=1.3)
        axis.set_axis_off()
        turn = Rotation.from_quat(poses[name][[4, 5, 6, 3]]).as_matrix()
        cube = poses[name][:3] + FACES * half @ turn.T
        lit = 0.8 + 0.3 * (cube.mean(1) - poses[name][:3]) @ LIGHT / half[0]
        painted = np.clip(lit[:, None] * (WHITE + (1 - WHITE) * colour), 0, 1)
        axis.add_collection3d(Poly3DCollection(ground, facecolors=checks))
        axis.add_collection3d(Poly3DCollection(cube * [1, 1, 0], facecolors="#c2c2c2"))
        axis.add_collection3d(Poly3DCollection(cube, facecolors=painted, edgecolors="#333333"))
        figure.text(0.03 + 0.5 * place, 0.92, name, fontsize=13)
    figure.text(0.5, 0.025, text, ha="center", fontsize=11)
    figure.savefig(image := io.BytesIO(), format="png")
    return Image.open(image).convert("RGB").quantize(32)


def main(data: Path) -> None:
    """Draws the picture of a recording of the cube, and prints which toss it shows."""
    caption, half, error, poses = median_toss(data)
    images = []
    for frame in range(0, len(error), EVERY):
        text = f"{(frame + 1) / HZ:.2f} s,  error {1e3 * error[frame]:.1f} mm"
        images.append(picture(half, {name: rows[frame] for name, rows in poses.items()}, text))
    pause = round(1e3 * EVERY * SLOWER / HZ)
    images[0].save(PICTURE, save_all=True, append_images=images[1:], duration=pause, loop=0)
    print(caption)


if __name__ == "__main__":
    tyro.cli(main)
