"""A real Slurm in one box: munge, slurmctld and two slurmd, for root on Debian.

Jobs of the partition ``urgent`` preempt those of ``main``.
"""

import contextlib
import os
import platform
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

NEEDED = {"munged": "munge", "slurmctld": "slurmctld", "slurmd": "slurmd", "sbatch": "slurm-client"}
CONFIG = """\
ClusterName=box
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=17000
AuthInfo=socket={sockets}/munge.socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={sockets}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmctldParameters=preempt_send_user_signal
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=5
SchedulerParameters=batch_sched_delay=0
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port=17001 CPUs=2
NodeName=n2 NodeHostname={host} NodeAddr=127.0.0.1 Port=17002 CPUs=2
PartitionName=main Nodes=n1,n2 Default=YES MaxTime=60 LLN=YES PriorityTier=1 GraceTime=60
PartitionName=urgent Nodes=n1,n2 MaxTime=60 PriorityTier=2 PreemptMode=OFF
"""


def absent() -> list[str]:
    """What it needs and is not here: Debian packages, by their names, and root."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    packages = [p for program, p in NEEDED.items() if shutil.which(program, path=path) is None]
    return packages + ([] if os.geteuid() == 0 else ["root"])


@contextlib.contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Starts it in a folder and stops it; gives the environment of its commands."""
    folder.chmod(0o755)
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o600)
    paths = {"pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    munged = ["munged", "--foreground", "--force", f"--key-file={key}"]
    munged += [f"--{option}={folder}/munge.{end}" for option, end in paths.items()]
    environment = {"SLURM_CONF": f"{folder}/slurm.conf", "PATH": f"{os.environ['PATH']}:/usr/sbin"}
    with contextlib.ExitStack() as stack:
        # The path of a Unix socket has 108 characters at most, whatever the folder's length.
        sockets = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="slurm")))
        sockets.chmod(0o755)
        text = CONFIG.format(folder=folder, sockets=sockets, host=platform.node())
        (folder / "slurm.conf").write_text(text)
        munged.append(f"--socket={sockets}/munge.socket")
        for command in (
            munged,
            ["slurmctld", "-D", "-c"],
            ["slurmd", "-D", "-N", "n1"],
            ["slurmd", "-D", "-N", "n2"],
        ):
            with (folder / "daemons.log").open("ab") as log:
                daemon = subprocess.Popen(
                    command, stdout=log, stderr=log, env=os.environ | environment
                )
            stack.callback(daemon.wait)
            stack.callback(daemon.terminate)
            time.sleep(1.0)
        for _ in range(120):
            states = slurm(environment, "sinfo", "-h", "-N", "-p", "main", "-o", "%T").split()
            if states == ["idle", "idle"]:
                break
            time.sleep(0.5)
        else:
            raise RuntimeError(f"the nodes are {states}: {(folder / 'daemons.log').read_text()}")
        try:
            yield environment
        finally:
            slurm(environment, "scancel", "--user", "root")
            time.sleep(2.0)  # its processes end before the daemons


def slurm(environment: dict[str, str], *command: str) -> str:
    """A Slurm command's stdout."""
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | environment)
    return done.stdout
