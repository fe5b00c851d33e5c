"""Paper: fitted physics and the learned half on real recordings."""

from experiments.papers.result import RESULTS, Number, Paper, Result, interval_share, sweeps


def ratio(
    model: str, reference: str, channel: str, low: float, high: float, frames: int = 16
) -> Number:
    """A ratio of mean errors at a horizon."""
    path = ("over", reference, channel, "ratio")
    return Number({"model": model, "frames": frames}, path, low, high)


def physics(name: str, kept: tuple[int, int], *numbers: Number) -> Result:
    """Fitted physics of a recording; ``kept`` are the seeds that are committed below the best."""
    fit = f"experiments.recordings.fit_physics --recording {name} --seed %d --out {{out}}/%d"
    table = f"experiments.recordings.physics_table --recording {name} --out {{out}} --fits "
    fits = (fit % (seed, seed) for seed in range(3))
    return Result(
        f"recordings/{name}/physics",
        30,
        (*fits, table + "{out}/0 {out}/1 {out}/2"),
        numbers,
        table + " ".join(["{kept}", *(f"{{kept}}/seed{seed}" for seed in kept)]),
    )


def hybrid(name: str, folders: tuple[str, str, str], *numbers: Number, more: str = "") -> Result:
    """A network on fitted physics; ``folders`` are those of the physics of seeds 0, 1 and 2, and
    ``more`` is for the fits."""
    base = f"{RESULTS}/recordings/{name}/physics/"
    fit = f"experiments.recordings.fit_hybrid --recording {name} --physics {base}%s/checkpoint "
    fit += f"--fit.seed %d {more}--out {{out}}/%d"
    table = f"experiments.recordings.hybrid_table --recording {name} --out {{out}} --physics "
    table += " ".join(base + folder for folder in folders) + " --hybrid {out}/0 {out}/1 {out}/2"
    fits = (fit % (folder, seed, seed) for seed, folder in enumerate(folders))
    return Result(f"recordings/{name}/hybrid", 60, (*fits, table), numbers)


def black_box(name: str, folders: tuple[str, str, str], *numbers: Number) -> Result:
    """A network without physics; ``folders`` as of ``hybrid``."""
    fit = f"experiments.learned.black_box --recording {name} --seed %d "
    fit += "--out {out}/%d"
    table = f"experiments.learned.black_box_table --recording {name} --out {{out}} --physics "
    table += " ".join(f"{RESULTS}/recordings/{name}/physics/{folder}" for folder in folders)
    table += " --black-box {out}/0 {out}/1 {out}/2"
    fits = (fit % (seed, seed) for seed in range(3))
    return Result(f"learned/black_box/{name}", 60, (*fits, table), numbers)


def calibration(name: str, group: str, frames: int | None, low: float, high: float) -> Result:
    """How often the 90 % intervals of the committed hybrid hold, of a group of channels;
    of all frames together where ``frames`` is None."""
    model = f"{RESULTS}/recordings/{name}/hybrid/checkpoint"
    command = f"experiments.learned.calibration --recording {name} --model {model} --out {{out}}"
    row = {"spread": "with multipliers", "group": group, "frames": frames}
    numbers = (Number(row, ("coverage", "0.9", "share"), low, high),)
    return Result(f"learned/calibration/{name}", 5, (command,), numbers)


def identified(name: str, *numbers: tuple[str, float, float]) -> Result:
    """What a recording says of each physical number."""
    command = f"experiments.recordings.identify --recording {name} --out {{out}}"
    values = (Number({"number": label}, ("value",), low, high) for label, low, high in numbers)
    return Result(f"recordings/{name}/identified", 10, (command,), tuple(values))


def sysid(name: str, low: float, high: float) -> Result:
    """Four ways to the same least squares: where their costs end."""
    command = f"experiments.recordings.compare_identification --recording {name} --windows 128"
    command += " --iterations 10 --out {out}"
    methods = ("engine c", "engine mjx", "mujoco.sysid, mujoco", "mujoco.sysid, scipy")
    costs = (Number({"method": method}, ("cost",), low, high) for method in methods)
    return Result(f"recordings/{name}/sysid", 10, (command,), tuple(costs))


PAPER = Paper(
    "recordings",
    (
        physics(
            "elbow_toss",
            (0, 2),
            ratio("fitted", "sources", "position_m", 0.77, 0.84),
            ratio("fitted", "sources", "rotation_rad", 0.72, 0.8),
            ratio("fitted", "sources", "joint_rad", 0.73, 0.84),
        ),
        physics(
            "cube_toss",
            (0, 1),
            ratio("fitted", "sources", "position_m", 0.58, 0.69),
            ratio("fitted", "sources", "rotation_rad", 0.59, 0.75),
        ),
        physics(
            "square_drop",
            (0, 2),
            ratio("fitted", "sources", "position_m", 0.58, 0.69),
            ratio("fitted", "sources", "rotation_rad", 0.6, 0.71),
        ),
        physics(
            "double_pendulum",
            (0, 1),
            ratio("fitted", "sources", "joint_rad", 0.05, 0.43, frames=100),
        ),
        hybrid(
            "elbow_toss",
            ("seed0", ".", "seed2"),
            ratio("hybrid", "physics", "position_m", 0.87, 0.96),
            ratio("hybrid", "physics", "rotation_rad", 0.86, 0.95),
            ratio("dealt", "physics", "position_m", 1.0, 1.3),
        ),
        hybrid(
            "cube_toss",
            ("seed0", "seed1", "."),
            ratio("hybrid", "physics", "position_m", 0.68, 0.79),
            ratio("hybrid", "physics", "rotation_rad", 0.84, 0.92),
            ratio("dealt", "physics", "position_m", 1.0, 1.4),
        ),
        hybrid(
            "square_drop",
            ("seed0", ".", "seed2"),
            ratio("hybrid", "physics", "position_m", 0.5, 0.72),
            ratio("hybrid", "physics", "rotation_rad", 0.58, 0.8),
            ratio("dealt", "physics", "position_m", 1.1, 1.6),
        ),
        hybrid(
            "double_pendulum",
            ("seed0", "seed1", "."),
            ratio("hybrid", "physics", "joint_rad", 0.5, 0.95, frames=100),
            more="--correction force ",
        ),
        black_box(
            "double_pendulum",
            ("seed0", "seed1", "."),
            ratio("black_box", "physics", "joint_rad", 0.2, 1.5, frames=100),
        ),
        calibration("double_pendulum", "joint_rad", 100, 0.75, 0.97),
        calibration("elbow_toss", "rotation_rad", None, 0.85, 0.93),
        calibration("cube_toss", "rotation_rad", None, 0.85, 0.93),
        Result(
            "learned/held_out/my_arm",
            10,
            ("experiments.learned.held_out --fits {out}/fits --out {out} --seeds 0",),
            tuple(
                Number({"episodes": 12, "model": model}, ("over_physics", 0), low, high)
                for model, low, high in (("hybrid", 0.8, 1.05), ("reality", 0.05, 0.2))
            ),
        ),
        identified("elbow_toss", ("link2.mass[0]", 0.41, 0.5), ("link2.com[0]", 0.028, 0.035)),
        identified(
            "square_drop",
            ("square.friction[0]", 0.148, 0.202),
            ("square.geom_size[0]", 0.0299, 0.0308),
        ),
        identified("double_pendulum", ("shoulder.frictionloss[0]", 0.079, 1.86)),
        identified(
            "cube_toss", ("cube.friction[0]", 0.15, 0.22), ("cube.geom_size[0]", 0.05, 0.055)
        ),
        sysid("elbow_toss", 53_000, 65_000),
        sysid("double_pendulum", 42_000, 47_000),
        Result(
            "identification",
            30,
            ("experiments.identification.coverage --out {out}",),
            tuple(
                interval_share({"arm": arm, "episodes": episodes}, "held", "intervals", 0.93)
                for arm in ("two_joints", "six_joints")
                for episodes in (8, 40)
            ),
        ),
    ),
)

sweep, quick = sweeps(PAPER)
