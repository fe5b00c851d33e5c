"""One turn of the loop, for any task, robot, expert, trainer and method:

    generate → train → deploy → capture → finetune

Each stage leaves its result in the folder of the version that it started from, and is taken from
there when the same turn runs again:

    versions/v0/checkpoint   the version
    v0/settings.json         of the turn; another one is refused by the setting's name
    v0/synthetic             its episodes, a LeRobot data set
    v0/policy                what was trained on them
    v0/captured              the robot's episodes, a file each as soon as it ends
    v0/corrections           all of them, a LeRobot data set with goals and interventions
    v0/outcome.json          errors and successes of the policy, in the version and on the robot
    versions/v1              the next version
    versions/v1-physics      where v1 has a new network: what that stands on
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np

from worldmodel import runtime
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import WindowGrid
from worldmodel.finetune.adam import FitConfig
from worldmodel.finetune.hybrid import THROUGH_WINDOWS
from worldmodel.finetune.least_squares import IdentifyConfig
from worldmodel.loop.demonstrations import demonstrate, draw
from worldmodel.loop.disagreement import disagreement, most_doubtful
from worldmodel.loop.next_version import WHOLE, finetune
from worldmodel.loop.versions import (
    LoopError,
    Version,
    digest,
    generate,
    refuse_unplayable,
)
from worldmodel.model import Network, WorldModel
from worldmodel.model.correction import Correction
from worldmodel.policies import clone
from worldmodel.policies.plan import Expert
from worldmodel.runtime import checkpoint
from worldmodel.runtime.files import write_json
from worldmodel.runtime.records import append_row, config_hash
from worldmodel.runtime.settings import claim, flat
from worldmodel.tasks import data_set
from worldmodel.tasks.play import repeated
from worldmodel.tasks.task import Task
from worldmodel.types import Episode, Goal, Policy, Start, Trial

# Plays trials on a robot and keeps what comes back in a folder: ``reality.capture``, its robot
# and task given.
Deploy = Callable[[Path, Sequence[Trial], jax.Array], list[Episode]]


class Trainer(Protocol):
    """Episodes → policy, such as ``policies.clone.Clone``: the same policy for the same seed."""

    def __call__(self, task: Task, episodes: Sequence[Episode], seed: int, /) -> Policy:
        """Trains one."""
        ...


@dataclasses.dataclass(frozen=True)
class Method:
    """How a version is finetuned on corrections: its physics, then a new network on them where the
    method has a correction. Without one a version's own network goes on, and its physics stays."""

    config: FitConfig | IdentifyConfig = dataclasses.field(default_factory=FitConfig)  # of physics
    correction: Correction | None = None
    network: Network = dataclasses.field(default_factory=lambda: Network(members=5))
    learning: FitConfig = THROUGH_WINDOWS  # of each member of a network
    held_out: int = 4  # one of so many corrections stops the fit of a network
    channels: Channels | None = None  # what is scored; all joints when None
    grid: WindowGrid = WHOLE  # what is predicted
    draws: int = 64  # from the physics' prior, of which its fit begins at the best

    def stages(
        self, parent: WorldModel, seed: int
    ) -> list[tuple[WorldModel, FitConfig | IdentifyConfig]]:
        """The models that a version is finetuned to, one after the other, and how; their seeds
        are ``seed`` where they draw anything. Empty where nothing may be fitted."""
        config = self.config
        if isinstance(config, FitConfig):
            config = dataclasses.replace(config, seed=seed)
        learning = dataclasses.replace(self.learning, seed=seed)
        if self.correction is None and parent.learns:
            return [(parent, learning)]
        physics = parent.without_network()
        out = [(physics, config)] if parent.free else []
        if self.correction is not None:
            hybrid = dataclasses.replace(physics, correction=self.correction, network=self.network)
            out.append((hybrid, learning))
        return out


def turn(
    folder: Path,
    task: Task,
    version: Version,
    deploy: Deploy,
    expert: Expert,
    trainer: Trainer,
    method: Method,
    *,
    generated: int = 64,
    deployed: int = 8,
    seed: int = 0,
    engine: str = "mjx",
    penalty: float = 0.0,
    candidates: int = 1,
    real: Sequence[Episode] = (),
    stop: Callable[[], bool] = lambda: False,
) -> Version:
    """A version → the next one, by way of a robot. The same call goes on where it was stopped.

    Args:
      folder: of all versions and turns.
      version: saved in ``folder/versions``.
      deploy: plays trials on the robot.
      expert: demonstrates the task in the version.
      generated: synthetic episodes; deployed: episodes of the policy on the robot.
      seed: of starts, goals, the expert's errors and the policy's weights.
      engine: what simulates the version, see ``simulator``.
      penalty: on what the members of an ensemble disagree about, see ``demonstrate``.
      candidates: starts and goals drawn per episode on the robot; above 1 it plays those that the
        members of the version disagree most about.
      real: demonstrations that are trained on beside the synthetic ones.
      stop: asked between stages and steps; True raises ``runtime.Interrupted``.

    Returns:
      The next version, finetuned on the corrections of this turn and all before it.

    Raises:
      LoopError: a version whose parent, or whose parent's corrections, are not in the folder;
        nothing that may be fitted; see ``finetune`` and ``generate``.
      InputError: the folder belongs to a turn with other settings.
      Interrupted: ``stop`` returned True.
    """
    parents = ancestors(folder, version)
    stages = method.stages(version.world, seed)
    if not stages:
        raise LoopError(
            f"task '{task.name}' names no free parameter, and the method no network: nothing may "
            "be fitted; set the task's 'free', or the method's correction"
        )
    before = [e for name in parents for e in corrections(folder, task, name)]
    own, name = folder / version.name, f"v{len(parents) + 1}"
    refuse_unplayable(name, stages[-1][0])
    if stages[-1][0].learns and len(before) + deployed < 2:
        raise LoopError("the fit of a network needs two corrections, one to fit and one to stop it")
    settings = {
        "task": task.name,
        "scene": config_hash(task.scene.digest),
        "version": digest(*jax.tree.leaves(version.parameters)),
        "generated": generated,
        "deployed": deployed,
        "seed": seed,
        "engine": engine,
        "penalty": penalty,
        "candidates": candidates,
        "real": [digest(e.qpos, e.ctrl) for e in real],
    }
    for part, value in (("method", method), ("expert", expert), ("trainer", trainer)):
        settings |= flat(part, value)
    claim(own, settings)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), len(parents)), 5)

    _stage("generate", f"{generated} episodes of {task.name} in {version.name}", stop)
    synthetic = _kept(
        own / "synthetic",
        task,
        lambda: demonstrate(
            version,
            task,
            expert,
            *draw(task, keys[0], generated),
            keys[1],
            engine=engine,
            penalty=penalty,
        ),
    )

    _stage("train", f"on {len(synthetic)} synthetic and {len(real)} real episodes", stop)
    policy = _trained(own / "policy", task, trainer, [*synthetic, *real], seed)

    _stage("deploy", f"{deployed} episodes on the robot", stop)
    starts, goals = draw(task, keys[2], candidates * deployed)
    if candidates > 1:
        many = repeated(policy, candidates * deployed)
        doubt = disagreement(version, task, many, starts, goals, keys[4])
        asked = most_doubtful(doubt, deployed)
        starts, goals = jax.tree.map(lambda x: x[asked], (starts, goals))
    trials = trials_of(starts, goals, policy, deployed)

    def captured() -> list[Episode]:
        return deploy(own / "captured", trials, keys[3])

    corrected = _kept(own / "corrections", task, captured)
    if not (own / "outcome.json").is_file():
        many = repeated(policy, deployed)
        predicted = generate(version, task, many, starts, goals, keys[4], engine=engine)
        outcome = {"version": version.name, "corrections": len(before) + deployed}
        outcome["robot"] = scores(task, corrected)
        outcome["predicted"] = scores(task, predicted) | {"diverged": deployed - len(predicted)}
        absent = "thinned" if penalty else "diverged"
        outcome["expert"] = scores(task, synthetic) | {absent: generated - len(synthetic)}
        write_json(own / "outcome.json", outcome)

    _stage("finetune", f"{name} on {len(before) + deployed} corrections", stop)
    every = [*before, *corrected]
    following = version
    for i, (world, config) in enumerate(stages):
        title = name if i == len(stages) - 1 else f"{name}-physics"
        following = finetune(
            folder / "versions",
            following,
            title,
            world,
            every,
            method.channels or Channels.of(world.scene),
            config,
            held_out=max(1, len(every) // method.held_out),
            spent=len(every),
            record=lambda row, title=title: append_row(
                folder / "metrics.jsonl", {"version": title} | row
            ),
            stop=stop,
            grid=method.grid,
            draws=method.draws,
        )
    return following


def trials_of(starts: Start, goals: Goal, policy: Policy, count: int) -> list[Trial]:
    """One policy in each of so many starts and goals."""
    rows = [jax.tree.map(lambda x, i=i: x[i], (starts, goals)) for i in range(count)]
    return [Trial(start, goal, policy) for start, goal in rows]


def ancestors(folder: Path, version: Version) -> list[str]:
    """Names of the versions before one whose policies were deployed, the first one first; not of
    the physics that a turn finetunes before the network.

    Raises:
      LoopError: the version, or one of them, is not in the folder.
    """
    names, name, fitted_to = [], version.name, None
    while True:
        place = folder / "versions" / name / "checkpoint"
        if checkpoint.latest(place) is None:
            raise LoopError(
                f"{version.name} needs {name}, which is not in {folder / 'versions'}; restore it, "
                "or start over in another folder"
            )
        metadata = checkpoint.read_metadata(place)
        parent, child_fitted_to = metadata.get("parent"), fitted_to
        fitted_to = metadata["settings"].get("corrections")
        if names and fitted_to == child_fitted_to:
            names.pop()  # of the same turn
        if parent is None:
            return names[::-1]
        names.append(parent)
        name = parent


def corrections(folder: Path, task: Task, name: str) -> list[Episode]:
    """The corrections that a version's turn captured.

    Raises:
      LoopError: they are not in the folder.
    """
    place = folder / name / "corrections"
    if not place.is_dir():
        raise LoopError(
            f"the corrections of {name} are not in {place}; restore them: the versions after it "
            "are finetuned on them too"
        )
    return data_set.read(place, task)


def scores(task: Task, episodes: Iterable[Episode]) -> dict[str, Any]:
    """Of how many episodes the error was not measured, and success not judged; of the others their
    mean error [the task's unit] and share of successes, None where there is none. As JSON."""
    both = [(task.error(e), e.success) for e in episodes]
    errors = np.array([error for error, _ in both], float)
    judged = [success for _, success in both if success is not None]
    measured = errors[np.isfinite(errors)]
    return {
        "episodes": len(both),
        "error": float(measured.mean()) if len(measured) else None,
        "success": float(np.mean(judged)) if judged else None,
        "unmeasured": len(both) - len(measured),
        "unjudged": len(both) - len(judged),
    }


def _stage(name: str, what: str, stop: Callable[[], bool]) -> None:
    if stop():
        raise runtime.Interrupted(f"stopped before '{name}'; run the same command to go on")
    runtime.log(f"── {name}: {what}")


def _kept(folder: Path, task: Task, make: Callable[[], list[Episode]]) -> list[Episode]:
    """Episodes of a folder; made and written where it is not there."""
    if not folder.is_dir():
        data_set.write(folder, task, make(), {"provenance": runtime.provenance()})
    return data_set.read(folder, task)


def _trained(
    folder: Path, task: Task, trainer: Trainer, episodes: Sequence[Episode], seed: int
) -> Policy:
    """The policy of a folder; trained and written where it is not there. One that is not cloned
    is trained again for its structure; its numbers are those of the folder."""
    kept = checkpoint.latest(folder) is not None
    if kept and "clone" in checkpoint.read_metadata(folder):
        return clone.restore(folder, task)
    policy = trainer(task, episodes, seed)
    if isinstance(policy, clone.Cloned):
        clone.save(folder, policy, task, {})
        return clone.restore(folder, task)
    if not kept:
        checkpoint.save(folder, 0, policy, {"task": task.name}, keep=1)
    return checkpoint.restore(folder, policy)[0]
