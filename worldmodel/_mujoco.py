"""MuJoCo and MJX, imported in this one place so that stdout stays clean.

``mujoco.mjx`` prints a line on stdout when Warp is absent, and MuJoCo drops ``MUJOCO_LOG.TXT``
into the working directory on warnings; both go to stderr instead.
"""

import contextlib
import sys

with contextlib.redirect_stdout(sys.stderr):
    import mujoco
    from mujoco import mjx
    from mujoco import rollout as c_rollout


def _warn(message: str) -> None:
    print(f"mujoco: {message}", file=sys.stderr)


mujoco.set_mju_user_warning(_warn)

__all__ = ["c_rollout", "mjx", "mujoco"]
