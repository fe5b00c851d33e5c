"""MuJoCo and MJX, imported in this one place so that stdout and the working folder stay clean.

``mujoco.mjx`` prints on stdout that Warp is absent, which nothing here uses; that is not shown.
MuJoCo drops ``MUJOCO_LOG.TXT`` into the working directory on warnings; they go to stderr instead.
An unstable simulation warns in every step: of each kind of warning the first is shown, and at the
end of the process their number.
"""

import atexit
import collections
import contextlib
import io
import re
import sys

with contextlib.redirect_stdout(io.StringIO()) as _printed:
    import mujoco
    from mujoco import mjx
    from mujoco import rollout as c_rollout
for _line in _printed.getvalue().splitlines():
    if "warp" not in _line:
        print(_line, file=sys.stderr)

_warnings: collections.Counter[str] = collections.Counter()  # by text, without its numbers


def _warn(message: str) -> None:
    kind = re.sub(r"[-+]?\d+\.?\d*(e[-+]?\d+)?", "#", message.strip())
    _warnings[kind] += 1
    if _warnings[kind] == 1:
        print(f"mujoco: {message.strip()} More of this kind are counted.", file=sys.stderr)


@atexit.register
def _report() -> None:
    for kind, count in _warnings.items():
        if count > 1:
            print(f"mujoco: {count} warnings: {kind}", file=sys.stderr)


mujoco.set_mju_user_warning(_warn)

__all__ = ["c_rollout", "mjx", "mujoco"]
