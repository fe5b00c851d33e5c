"""``docs/your_data.md``: every command of it runs, in order, with options that shorten it."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from worldmodel.episodes.columns_toml import from_toml

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "your_data.md").read_text()
SHORTER = {
    "record.py": ["--episodes", "8"],
    "fit": [
        *("--starts", "1", "--iterations", "6"),
        *("--free", "gain:shoulder_pan", "damping:shoulder_pan", "gain:gripper"),
    ],
}


def commands() -> list[list[str]]:
    """Of all shell blocks; a line that ends in a backslash goes on."""
    blocks = re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def shortened(command: list[str]) -> list[str]:
    """Run by this interpreter, with the options that shorten it."""
    program, *rest = command
    if program == "python":
        return [sys.executable, *rest, *SHORTER[Path(rest[0]).name]]
    assert program == "worldmodel"
    return [sys.executable, "-m", "worldmodel", *rest, *SHORTER.get(rest[0], [])]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """The folder in which the page's commands were run, and what each printed."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "docs", folder / "docs")
    (folder / "runs").mkdir()
    printed = {}
    for command in commands():
        done = subprocess.run(shortened(command), cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        name = command[1] if command[0] == "worldmodel" else Path(command[1]).name
        printed[name] = done.stdout
    return folder, printed


def test_the_page_walks_from_a_log_to_a_score(outputs: tuple[Path, dict[str, str]]) -> None:
    assert [*outputs[1]] == ["record.py", "check", "fit", "evaluate"]


def test_the_draft_names_units_and_all_joints(outputs: tuple[Path, dict[str, str]]) -> None:
    draft = (outputs[0] / "runs" / "my_arm.toml").read_text()
    columns = from_toml(draft)
    units = {joint.name: joint.unit for joint in columns.joints}
    assert units.pop("gripper") == "percent"
    assert len(units) == 5 and set(units.values()) == {"deg"}
    assert {c.name: c.unit for c in columns.commands} == units | {"gripper": "percent"}
    assert len(draft.strip().splitlines()) <= 20


def test_the_fit_beats_the_mjcf_on_held_out_episodes(
    outputs: tuple[Path, dict[str, str]],
) -> None:
    folder, printed = outputs
    (line,) = printed["fit"].strip().splitlines()
    fitted = json.loads(line)
    assert fitted["joint_rad"] < 0.95 * fitted["mjcf"]["joint_rad"]
    evaluated = json.loads(printed["evaluate"])
    assert evaluated["joint_rad"] == pytest.approx(fitted["joint_rad"], rel=1e-6)
    assert {"episodes", "windows", "skipped", "position_m", "rotation_rad", "channels"} < set(
        evaluated
    )
    written = {path.name for path in (folder / "runs" / "my_arm").iterdir()}
    assert {"report.html", "fitted.xml", "columns.toml", "checkpoint", "fit.json"} <= written


def test_the_pages_example_of_columns_is_read() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert [joint.unit for joint in from_toml(example).joints] == ["deg", "percent"]
