"""Paper: how many real episodes a synthetic one replaces."""

from experiments.papers.result import Number, Paper, Result, interval_share, sweeps

ROWS = "experiments.alpha {kept}/rows.csv --out {out}"
COVERED = {"group": "fresh episodes", "figure": "alpha = 1.00", "seeds": 20, "wanted": "covers"}


def alpha(version: str, low: float, high: float) -> Number:
    """The mean alpha of a version."""
    return Number({"version": version, "n": None}, ("alpha_avg",), low, high)


def slide(seed: int, *numbers: Number, size: str = "full") -> Result:
    """The loop on a held-out simulation of task slide."""
    command = f"experiments.slide.close_the_loop --{size} --hidden-seed {seed} --out {{out}}"
    return Result(f"slide/hidden{seed}", 15, (command,), numbers, ROWS)


def tosses(name: str, *numbers: Number) -> Result:
    """Synthetic tosses of a recording."""
    command = f"experiments.tosses_alpha.%s --recording {name} --out {{out}}"
    commands = (command % "versions" + "/versions", command % "measure")
    return Result(f"tosses_alpha/{name}", 90, commands, numbers, ROWS)


PAPER = Paper(
    "alpha",
    (
        slide(
            21,
            alpha("v0", -0.33, 0.05),
            alpha("v1", 0.41, 1.09),
            alpha("v2-physics", 0.47, 1.18),
            alpha("v*", 0.73, 1.57),
        ),
        slide(
            22,
            alpha("v0", -0.32, 0.07),
            alpha("v1", -0.14, 0.3),
        ),
        slide(23, alpha("v1", 0.63, 1.63)),
        slide(
            31,
            alpha("v1", 0.0, 0.5),
            alpha("v1-hybrid", -0.05, 0.45),
            alpha("v*", 0.75, 1.8),
            size="halves",
        ),
        slide(
            32,
            alpha("v0", 0.1, 0.65),
            alpha("v1", 0.45, 1.25),
            alpha("v1-hybrid", 0.4, 1.2),
            alpha("v*", 0.7, 1.5),
            size="halves",
        ),
        slide(33, alpha("v1", -0.5, 0.0), alpha("v*", 0.7, 1.6), size="halves"),
        Result(
            "push",
            30,
            ("experiments.manipulation.two_turns --task push --turns 3 --out {out}",),
            tuple(
                Number({"seed": "mean", "version": version}, ("success",), 0.45, 0.8)
                for version in ("v0", "v1", "v2", "v3", "reality")
            ),
        ),
        tosses(
            "elbow_toss",
            alpha("v0", 0.53, 1.28),
            alpha("v1", 0.55, 1.14),
            alpha("v2", 0.62, 1.33),
            alpha("v*", 0.84, 1.23),
        ),
        tosses(
            "cube_toss",
            alpha("v0", 0.41, 1.06),
            alpha("v1", 0.45, 1.07),
            alpha("v2", 0.63, 1.46),
            alpha("v*", 0.85, 1.51),
        ),
        Result(
            "factory",
            9,
            ("experiments.factory.measure --out {out}",),
            tuple(
                Number({"work": work, "episodes": 10_000}, ("peak_ratio",), 0.8, 1.15)
                for work in ("generate", "read")
            ),
        ),
        Result(
            "coverage",
            30,
            ("experiments.coverage.measure --out {out}",),
            tuple(
                interval_share(
                    COVERED | {"design": f"pooled, d = {d}"}, "covered", "replications", 0.929
                )
                for d in (5, 20, 100)
            ),
        ),
    ),
)

sweep, quick = sweeps(PAPER)
