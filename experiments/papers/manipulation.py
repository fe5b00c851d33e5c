"""Paper: a gripper whose grip slips, and what the loop makes of it."""

from experiments.papers.result import Number, Paper, Result, sweeps

OWN = {"cone": "elliptic", "impratio": 10.0, "timestep_ms": 5.0, "iterations": 30}
STIFF = {"cone": "elliptic", "impratio": 100.0, "constant_ms": 4.0}

PAPER = Paper(
    "manipulation",
    (
        Result(
            "manipulation/creep",
            4,
            ("experiments.manipulation.creep --out {out}",),
            (
                Number(OWN, ("c",), 150.0, 160.0),
                Number(OWN, ("noslip",), -1.0, 1.0),
                Number(OWN, ("mjx",), 150.0, 160.0),
                Number(STIFF, ("c",), 6.0, 7.0),
            ),
            quick="experiments.manipulation.creep --out {out}",
        ),
        Result(
            "manipulation/grasp",
            60,
            (
                "experiments.manipulation.two_turns --task grasp --seeds 0 --rollouts 100 "
                "--baselines randomised --out {out}",
            ),
            (
                Number({"seed": 0, "version": "v0"}, ("success",), 0.3, 0.7),
                Number({"seed": 0, "version": "v1"}, ("success",), 0.4, 1.0),
                Number({"seed": 0, "version": "v2"}, ("success",), 0.85, 1.0),
                Number({"seed": 0, "version": "randomised"}, ("success",), 0.0, 0.3),
            ),
        ),
        *(
            Result(
                f"manipulation/disagreement/{task}",
                15,
                (
                    f"experiments.manipulation.disagreement --task {task} --seed {seed} "
                    "--out {out}",
                ),
                (
                    Number({"part": "penalty", "choice": 2.0}, ("ratio", 0), 0.8, 1.9),
                    Number({"part": "asking", "choice": "disagreement"}, ("ratio", 0), 0.4, 1.6),
                ),
            )
            for task, seed in (("push", 0), ("slide", 31))
        ),
        Result(
            "manipulation/slip",
            10,
            ("experiments.manipulation.slip --out {out}",),
            (
                Number({"frames": 20, "number": "friction"}, ("exact",), -1e-9, 1e-9),
                Number({"frames": 60, "number": "friction"}, ("exact",), 0.0, 0.05, ("wide",)),
                Number({"frames": 60, "number": "mass"}, ("exact",), 0.5, 1.1, ("wide",)),
                Number({"frames": 60, "number": "friction"}, ("mjx",), 0.98, 1.02, ("exact",)),
                Number(
                    {"frames": 60, "number": "friction"}, ("onset_0.1mm",), 3.0, 6.0, ("exact",)
                ),
                Number({"frames": 60, "number": "mass"}, ("onset_0.1mm",), 0.9, 1.1, ("wide",)),
            ),
            quick="experiments.manipulation.slip --out {out}",
        ),
    ),
)

sweep, quick = sweeps(PAPER)
