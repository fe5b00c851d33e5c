"""An unstable simulation says so once and gives a number at the end, and leaves no file behind."""

import subprocess
import sys
from pathlib import Path

UNSTABLE = """
import numpy as np
from worldmodel._mujoco import c_rollout, mujoco
m = mujoco.MjModel.from_xml_string('''<mujoco><option timestep="0.1"/><worldbody>
<body><joint name="j" stiffness="1e6"/><geom size=".1" pos=".3 0 0"/></body>
<body pos="2 0 0"><joint stiffness="1e7"/><geom size=".1" pos=".3 0 0"/></body></worldbody>
</mujoco>''')
d = mujoco.MjData(m)
d.qpos[:] = 0.1, 0.2
for _ in range(200):
    mujoco.mj_step(m, d)
size = mujoco.mj_stateSize(m, mujoco.mjtState.mjSTATE_FULLPHYSICS)
states = np.full((8, size), 0.1)
c_rollout.rollout(m, [mujoco.MjData(m) for _ in range(2)], states, nstep=200)
print(int(d.warning[mujoco.mjtWarning.mjWARN_BADQACC].number))
"""


def test_warnings_are_counted_in_one_line(tmp_path: Path) -> None:
    root = str(Path(__file__).resolve().parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", UNSTABLE],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": root},
    )
    assert done.returncode == 0, done.stderr
    first, *counts = [line for line in done.stderr.splitlines() if line.startswith("mujoco: ")]
    assert "QACC at DOF" in first and "More of this kind are counted" in first
    (line,) = counts
    number, text = line.removeprefix("mujoco: ").split(" warnings: ")
    assert int(number) > 2 * int(done.stdout)  # the rollouts' too
    assert "QACC at DOF #" in text
    assert not list(tmp_path.iterdir())
