"""The commands of the loop round a cart: their lines, their resuming, and what they refuse."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.small_tasks import CART, Reach
from worldmodel.__main__ import main
from worldmodel.commands import generate as generation
from worldmodel.commands import named
from worldmodel.commands.train import PLAN
from worldmodel.errors import InputError
from worldmodel.policies import actor
from worldmodel.tasks import data_set

FILE = """
import numpy as np
from worldmodel.reality.safety import Nobody
from worldmodel.reality.simulated import SimulatedRobot
from tests.helpers.small_tasks import LaggingCart, Reach, Straight
from worldmodel.policies.plan import knots
task, expert = Reach(), Straight()
robot = LaggingCart(task)
number = 3
near = knots(task, 2)
class Silent(LaggingCart):
    def step(self, ctrl):
        raise TimeoutError("no answer")
silent = Silent(task)
class Careless(Reach):
    def observe(self, measured, goal):
        return measured.joints if measured.joints[0] > 0 else measured.velocities
class Pull(Reach):
    pass
class Leader(Nobody):
    def command(self, measured):
        return np.array([0.4])
alike = SimulatedRobot(task)
"""
Run = Callable[..., Any]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Run:
    """Runs a command line in a folder with a task; its JSON line, or the error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cart_task.py").write_text(FILE)
    # A file is imported once a process; each test has its own folder.
    monkeypatch.delitem(sys.modules, "cart_task", raising=False)

    def run(line: str) -> Any:
        status = main(line.split())
        printed = capsys.readouterr()
        if status == 0:
            return json.loads(printed.out.strip().splitlines()[-1])
        return printed.out if status == 1 else printed.err

    return run


def test_commands_go_round_the_loop(run: Run, tmp_path: Path) -> None:
    done = run("generate cart_task.py:task --out synthetic --episodes 8")
    assert done["episodes"] == 8 and done["version"] == "v0" and done["error"] < 0.5
    assert done["diverged"] == done["unmeasured"] == done["unjudged"] == 0
    assert run("generate cart_task.py:task --out synthetic --episodes 8") == done
    for other, refusal in (
        ("--episodes 8 --seed 4", "holds other episodes: settings.seed was 0 and is 4; give"),
        ("--episodes 8 --expert cart_task.py:near", "settings.expert"),
    ):
        assert refusal in run(f"generate cart_task.py:task --out synthetic {other}")
    searched = run("generate cart_task.py:task --out near --episodes 2 --expert cart_task.py:near")
    assert searched["episodes"] == 2
    train = "train cart_task.py:task --data synthetic --out policy --steps 300 --weight-decay 0"
    trained = run(train)
    assert trained["rows"] == 160 and trained["action_error"] < 0.1
    assert run(train) == trained
    assert "steps was 300 and is 200" in run(train.replace("300", "200"))
    deploy = "deploy cart_task.py:task --policy policy --out deployed --episodes 3"
    deployed = run(deploy)
    corrections = data_set.read(tmp_path / "deployed" / "corrections", Reach())
    assert deployed["error"] == pytest.approx(np.mean([Reach().error(e) for e in corrections]))
    assert run(deploy) == deployed
    other = run(deploy + " --robot cart_task.py:silent")
    assert 'robot was "cart_task.py:robot" and is "cart_task.py:silent"' in other
    silent = deploy.replace("deployed", "silent") + " --robot cart_task.py:silent"
    assert "the robot failed:" in run(silent) and "no answer" in run(silent)
    assert run(silent).count("run the same command") == 1
    led = deploy.replace("deployed", "led") + " --operator cart_task.py:Leader"
    run(led)
    for episode in data_set.read(tmp_path / "led" / "corrections", Reach()):
        assert episode.intervention is not None and episode.intervention.all()
        np.testing.assert_allclose(episode.ctrl, 0.4)
    nobody = run(led.replace("led", "nobody").replace("Leader", "number"))
    assert "operator 'cart_task.py:number' is a int without 'connect', 'close'" in nobody
    # Their configs repeat them.
    assert run("generate --from-config synthetic/config.json --out again") == done | {
        "out": "again"
    }
    one, two = (data_set.read(tmp_path / name, Reach()) for name in ("synthetic", "again"))
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a.qpos, b.qpos)
    assert run("train --from-config policy/config.json --out twin") == trained | {"out": "twin"}
    refused = run("train --from-config synthetic/config.json --out x")
    assert "is a config of worldmodel generate, not of worldmodel train" in refused


def test_many_episodes_are_made_in_parts_and_a_killed_command_goes_on(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(generation, "PART", 4)
    line = "generate cart_task.py:task --episodes 10 --out {}"
    done = run(line.format("whole"))
    assert done["episodes"] == 10
    whole = data_set.read(tmp_path / "whole", Reach())
    assert [e.id for e in whole] == [*range(10)]
    assert len({e.qpos.tobytes() for e in whole}) == 10  # every part draws its own
    real = generation.Demonstration.part

    def killed(asked: generation.Demonstration, number: int) -> Any:
        if number == 2:
            raise KeyboardInterrupt
        return real(asked, number)

    monkeypatch.setattr(generation.Demonstration, "part", killed)
    assert "stopped by Ctrl-C" in run(line.format("again"))
    assert not (tmp_path / "again").exists()
    assert "seed was 0 and is 1" in run(line.format("again") + " --seed 1")
    played = []
    monkeypatch.setattr(
        generation.Demonstration, "part", lambda a, n: played.append(n) or real(a, n)
    )
    assert run(line.format("again")) == done | {"out": "again"} and played == [2]
    assert sorted(p.name for p in tmp_path.iterdir() if "again" in p.name) == ["again"]
    for a, b in zip(whole, data_set.stream(tmp_path / "again", Reach()), strict=True):
        np.testing.assert_array_equal(a.qpos, b.qpos)
        assert (a.id, a.source, a.success) == (b.id, b.source, b.success)
    assert run(line.format("again")) == done | {"out": "again"}  # it is read


def test_a_plan_is_played_as_it_was_planned(run: Run, tmp_path: Path) -> None:
    planned = run("train cart_task.py:task --method plan --episodes 3 --out plan")
    assert planned["episodes"] == 3
    run("deploy cart_task.py:task --policy plan --out deployed --episodes 2")
    corrections = data_set.read(tmp_path / "deployed" / "corrections", Reach())
    with np.load(tmp_path / "plan" / "plan.npz") as plan:
        assert planned["success"] == np.mean(plan["error"] < 0.1)
        for i, episode in enumerate(corrections):
            assert episode.goal["target"] == plan["goal.target"][i]
            assert episode.action is not None
            np.testing.assert_array_equal(episode.action[:-1], plan["action"][i])
    more = run("deploy cart_task.py:task --policy plan --out more --episodes 9")
    assert "plans 3 episodes of (20, 1) actions" in more and "9 episodes are asked" in more
    other = run("deploy cart_task.py:Pull --policy plan --out other --robot cart_task.py:robot")
    assert "plan is a plan of task 'reach', not of 'pull'" in other


def test_a_learned_policy_is_exported_and_deployed(run: Run, tmp_path: Path) -> None:
    """Its weights are set here: ``test_learning_in_the_model`` trains some."""
    gains = np.array([[0.0], [0.0], [1.0]], np.float32)  # of place, speed and target
    layer = gains, np.zeros(1, np.float32)
    policy = actor.Actor((layer,), np.zeros(3, np.float32), np.ones(3, np.float32))
    actor.save(tmp_path / "learned" / "policy", policy, Reach(), {})
    line = "export cart_task.py:task --policy learned --out onnx"
    done = run(line)
    assert done["difference"] < 1e-5
    assert "--out onnx is there already" in run(line)
    itself = run("export cart_task.py:task --policy learned/policy --out itself")
    assert itself["difference"] == done["difference"]
    deploy = "deploy cart_task.py:task --episodes 2 --policy {0} --out deployed_{0}"
    one, two = (run(deploy.format(name)) for name in ("learned", "onnx"))
    assert one["error"] == pytest.approx(two["error"], abs=1e-5) and one["success"] is not None
    for episode in data_set.read(tmp_path / "deployed_onnx" / "corrections", Reach()):
        assert episode.action is not None
        np.testing.assert_allclose(episode.action[0, 0], np.tanh(episode.goal["target"]), atol=1e-5)
    for name in ("learned", "onnx"):
        line = f"deploy cart_task.py:Pull --policy {name} --out x --robot cart_task.py:robot"
        assert "another task than 'pull': its task is reach" in run(line)
    assert "no policy in it" in run("export cart_task.py:task --policy onnx --out x")


@pytest.mark.slow  # its quick substitutes: the test before it, test_ppo and test_gradient
@pytest.mark.parametrize(("method", "steps"), [("ppo", 327_680), ("gradient", 40_960)])
def test_learning_in_the_model(run: Run, method: str, steps: int) -> None:
    line = f"train cart_task.py:task --method {method} --steps {steps} --width 16 --out learned"
    learned = run(line)
    assert learned["method"] == method and learned["steps"] == steps
    assert learned["episodes"] == 8 and learned["error"] < 0.3
    assert run(line) == learned
    assert "width was 16 and is 8" in run(line.replace("16", "8"))
    # Within a second the cart is thrown, not led: the lagging one goes elsewhere.
    deploy = "deploy cart_task.py:task --policy learned --out out --episodes 8"
    assert run(f"{deploy} --robot cart_task.py:alike")["error"] < 0.3


def test_the_loop_is_one_command_and_more_turns_go_on(run: Run) -> None:
    line = "loop cart_task.py:task --out loop --episodes 6 --corrections 2 --clone-steps 50"
    once = run(line)
    assert once["version"] == "v1" and len(once["turns"]) == 1
    twice = run(f"{line} --turns 2")
    assert twice["version"] == "v2" and twice["turns"][0] == once["turns"][0]
    done = run("generate cart_task.py:task --model loop/versions/v2 --out later --episodes 2")
    assert done["version"] == "v2"
    assert "seed was 0 and is 1" in run(f"{line} --seed 1")
    assert "--out loop belongs to a run with other settings: episodes was 6 and is 7" in run(
        line.replace("6", "7")
    )
    assert "settings: width was 64 and is 8; give" in run(f"{line} --width 8")
    assert "settings: steps was 40 and is 99; give" in run(f"{line} --steps 99")
    assert "settings: model has other contents; give" in run(f"{line} --model loop/versions/v1")
    assert 'expert was "Straight" and is "Demonstrator"' in run(
        f"{line} --expert cart_task.py:near"
    )
    assert "robot was" in run(f"{line} --robot cart_task.py:silent")
    network = "loop cart_task.py:task --out network --episodes 3 --corrections 1"
    assert "needs two corrections" in run(f"{network} --correction velocity")
    assert not Path("network/v0").exists()  # nothing was played


def test_a_task_is_checked(run: Run, capsys: Any) -> None:
    assert main(["check", "cart_task.py:task"]) == 0
    assert "ok    observation" in capsys.readouterr().out
    (Path.cwd() / "bad_task.py").write_text(
        "from tests.helpers.small_tasks import Reach\n"
        "class Bad(Reach):\n    def success(self, episode):\n        return 'yes'\n"
    )
    assert "MEND  error" in run("check bad_task.py:Bad --json bad.json")
    (finding,) = (f for f in json.loads(Path("bad.json").read_text()) if f["level"] == "MEND")
    assert "'success' returns 'yes'" in finding["text"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("generate cart_task.py --out x", "give package.module:name or path/to/file.py:name"),
        ("generate no.py:task --out x", "no.py: no such file"),
        ("loop cart_task.py:task --out x --penalty -1", "penalty = -1.0; give 0 or more"),
        ("generate cart_task.py:task --out x --penalty 1", "has one member, which cannot disagree"),
        (
            "loop cart_task.py:task --robot cart_task.py:robot --out x --candidates 0",
            "candidates",
        ),
        (
            "generate cart_task.py:other --out x",
            "has no 'other'; it has task, expert, robot, ",
        ),
        ("generate cart_task.py:other --out x", "near, Silent, silent, Careless, "),
        ("generate cart_task.py:number --out x", "is a int; subclass worldmodel.Task"),
        ("generate no_package.tasks:task --out x", "No module named 'no_package'"),
        (
            "generate cart_task.py:task --out x --expert cart_task.py:number",
            "expert 'cart_task.py:number' is a int without 'plan'",
        ),
        ("generate cart_task.py:Careless --out x", "'observe' cannot be compiled (TracerBool"),
        ("generate cart_task.py:task --out x --episodes 0", "--episodes 0: at least 1"),
        ("train cart_task.py:task --out x --method plan --episodes 0", "--episodes 0: at least 1"),
        ("deploy cart_task.py:task --out x --policy . --episodes 0", "--episodes 0: at least 1"),
        ("generate cart_task.py:task --out x --model nowhere", "model nowhere: no such folder"),
        ("train cart_task.py:task --out x", "give the data sets to clone"),
        ("train cart_task.py:task --out x --method plan --data d", "--data is of --method clone"),
        ("train cart_task.py:task --out x --data d --model m", "--model is of --method plan, ppo"),
        ("train cart_task.py:task --out x --method plan --chunk 2", "--chunk is of --method clone"),
        (
            "train cart_task.py:task --out x --method ppo --horizon 8",
            "--horizon is of --method gradient, not of ppo; leave it out",
        ),
        (
            "train cart_task.py:task --out x --method gradient --weight-decay 0",
            "--weight-decay is of --method clone, not of gradient",
        ),
        ("train cart_task.py:task --out x --data d --episodes 3", "--episodes is of --method plan"),
        ("loop cart_task.py:task --out x --members 3", "--members is of --correction; leave"),
        ("check cart_task.py:task --control-hz 50", "--control-hz is of a scene, not of a task"),
        ("train cart_task.py:task --out x --data nowhere", "--data nowhere: no such folder"),
        ("deploy cart_task.py:task --out x --policy nowhere", "--policy nowhere: no such folder"),
        (
            "deploy cart_task.py:task --out x --policy .",
            "--policy .: no policy in it; give a folder",
        ),
        (
            "deploy cart_task.py:task --out x --policy . --robot cart_task.py:number",
            "robot 'cart_task.py:number' is a int without 'control_hz', 'names', 'max_rate'",
        ),
        (
            "train cart_task.py:task --out x --method gradient --horizon 0",
            "--horizon 0: at least 1",
        ),
        (
            "train cart_task.py:task --out x --method ppo --environments 0",
            "--environments 0: at least 1",
        ),
        ("train cart_task.py:task --out x --method ppo --model no", "model no: no such folder"),
        ("train cart_task.py:task --out x --learning-rate -1", "--learning-rate -1: above 0"),
        ("train cart_task.py:task --out x --weight-decay nan", "--weight-decay nan: from 0 on"),
        (
            "train cart_task.py:task --out x --method ppo --environments 100",
            "no multiple of environments = 100",
        ),
        ("export cart_task.py:task --out x --policy no", "--policy no: no policy in it"),
        ("loop cart_task.py:task --out x --turns 0", "--turns 0: at least 1"),
    ],
)
def test_what_does_not_fit_is_named(run: Run, line: str, message: str) -> None:
    assert message in run(line)
    assert not Path("x").exists()


def test_a_fit_that_has_not_ended_and_a_plan_to_export_are_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "settings.json").write_text("{}")
    (tmp_path / "planned").mkdir()
    (tmp_path / "planned" / PLAN).write_bytes(b"")
    assert "model fit: its run has not ended" in run(
        "generate cart_task.py:task --out x --model fit"
    )
    assert "an open-loop plan" in run("export cart_task.py:task --out x --policy planned")
    assert not Path("x").exists()


def test_a_new_folder_holds_a_task_that_keeps_its_contract(run: Run, tmp_path: Path) -> None:
    (tmp_path / "given.xml").write_text(CART)
    line = run("new my_cart --mjcf given.xml")
    assert line["files"] == ["columns.toml", "my_cart.xml", "task.py", "test_my_cart.py"]
    sys.modules.pop("task", None)
    task = named.task("my_cart/task.py:task")
    sys.modules.pop("task", None)
    assert task.name == "mycart" and task.free[0].name == "x.damping"
    assert "there already" in run("new my_cart --mjcf given.xml")
    assert "letters, digits" in run("new my-cart --mjcf given.xml")
    (tmp_path / "motor.xml").write_text(CART.replace('ctrlrange="-1 1"', ""))
    assert "actuators ['x']" in run("new other --mjcf motor.xml")
    assert not (tmp_path / "other").exists()


def test_two_files_of_one_name_are_refused(run: Run, tmp_path: Path) -> None:
    named.task("cart_task.py:task")
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "cart_task.py").write_text(FILE)
    with pytest.raises(InputError, match="has the name of the module 'cart_task'; rename"):
        named.task("inner/cart_task.py:task")
