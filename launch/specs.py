"""A sweep for machines that launch.slurm does not reach: files that Kubernetes and Cloud TPU read.

Command:  python -m launch.specs FILE.py:sweep --out /data/runs/NAME --kind jobset --queue team …

Writes the runs' folders and OUT/specs: a JobSet for each run, which Kueue admits (kubectl create -f
OUT/specs), or a queued resource for each (sh OUT/specs/create.sh). The same command writes them
again for what is neither done nor failed. Machines must see OUT under the same path, and the image
must have this environment. The files are checked against the published fields; no cluster has run
them.
"""

import dataclasses
import json
import shlex
import sys
from pathlib import Path
from typing import Any, Literal

import tyro

from launch import snapshot
from launch.local import locked, unfinished
from launch.snapshot import Snapshot
from launch.sweep import Run, command_line, plan, prepare
from worldmodel import runtime
from worldmodel.errors import InputError
from worldmodel.runtime.files import new_folder, write_json, write_text
from worldmodel.runtime.settings import check_options

_PORT = 17017  # of process 0, where a run has several hosts
_SAVE = 90  # that a run which is stopped has for saving [s]


@dataclasses.dataclass(frozen=True)
class Resources:
    """What each run gets."""

    image: str  # of the container
    minutes: int  # the time limit
    volume: str  # that holds OUT: a PersistentVolumeClaim's name, or an NFS export host:/path
    mount: Path  # where it is mounted, here too
    cores: int = 1  # per host
    memory: str | None = None  # per host, such as 8Gi
    gpus: int = 0  # per host
    tpu: str | None = None  # jobset: GKE's accelerator, tpu-v6e-slice; tpu: the type, v6e-4
    topology: str | None = None  # jobset: of the TPU slice, such as 2x2
    chips: int = 4  # of the TPU, per host
    hosts: int = 1  # jobset: that share the run


@dataclasses.dataclass(frozen=True)
class Args:
    """Command line."""

    sweep: tyro.conf.Positional[str]  # package.module:sweep or path/to/file.py:sweep
    out: Path  # a folder per run
    kind: Literal["jobset", "tpu"]  # Kubernetes with JobSet and Kueue, or Cloud TPU
    resources: tyro.conf.OmitArgPrefixes[Resources]
    queue: str | None = None  # jobset: Kueue's LocalQueue
    project: str | None = None  # tpu: Google Cloud's
    zone: str | None = None  # tpu
    runtime_version: str | None = None  # tpu: of the TPU's software, such as v2-alpha-tpuv6e
    rerun: tuple[str, ...] = ()  # ids of failed runs that begin again


def jobset(args: Args, run: Run, code: Snapshot) -> dict[str, Any]:
    """A JobSet (jobset.x-k8s.io/v1alpha2) with one indexed Job, a Pod per host.

    Pods that Kueue preempts, or whose node fails, begin again and go on from what was saved; a run
    that fails stays failed.
    """
    asked, name = args.resources, f"run-{run.id}"
    limits = {
        "cpu": str(asked.cores),
        "memory": asked.memory,
        "nvidia.com/gpu": asked.gpus or None,
        "google.com/tpu": asked.chips if asked.tpu else None,
    }
    environment: list[dict[str, Any]] = [{"name": "PYTHONPATH", "value": code.copied_path()}]
    if asked.hosts > 1:
        index = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
        environment += [
            {"name": "WORLDMODEL_PROCESSES", "value": str(asked.hosts)},
            {"name": "WORLDMODEL_PROCESS", "valueFrom": {"fieldRef": {"fieldPath": index}}},
            {"name": "WORLDMODEL_COORDINATOR", "value": f"{name}-run-0-0.{name}:{_PORT}"},
        ]
    container = {
        "name": "run",
        "image": asked.image,
        "command": _command(args, run),
        "workingDir": str(args.out.resolve()),  # not the image's, which may hold other code
        "env": environment,
        "resources": {"limits": {k: v for k, v in limits.items() if v is not None}},
        "volumeMounts": [{"name": "sweep", "mountPath": str(asked.mount)}],
    }
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": _SAVE,
        "containers": [container],
        "volumes": [{"name": "sweep", "persistentVolumeClaim": {"claimName": asked.volume}}],
    }
    if asked.tpu:
        pod["nodeSelector"] = {
            "cloud.google.com/gke-tpu-accelerator": asked.tpu,
            "cloud.google.com/gke-tpu-topology": asked.topology,
        }
    disrupted = {"type": "DisruptionTarget", "status": "True"}
    ends = {"containerName": "run", "operator": "In", "values": [1, 2]}
    job = {
        "completionMode": "Indexed",
        "completions": asked.hosts,
        "parallelism": asked.hosts,
        "backoffLimit": 3,
        "activeDeadlineSeconds": 60 * asked.minutes,
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onExitCodes": ends},
                {"action": "Ignore", "onPodConditions": [disrupted]},
            ]
        },
        "template": {"spec": pod},
    }
    return {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": name, "labels": {"kueue.x-k8s.io/queue-name": args.queue}},
        "spec": {"replicatedJobs": [{"name": "run", "replicas": 1, "template": {"spec": job}}]},
    }


def startup_script(args: Args, run: Run, code: Snapshot) -> str:
    """What a TPU machine does when it starts: the run, then the end of its queued resource."""
    asked = args.resources
    mount = shlex.quote(str(asked.mount))
    docker = ["docker", "run", "--rm", "--init", "--privileged", "--net=host"]
    docker += [f"--stop-timeout={_SAVE}", "-v", f"{asked.mount}:{asked.mount}"]
    docker += ["-w", str(args.out.resolve()), "-e", f"PYTHONPATH={code.copied_path()}"]
    limit = ["timeout", f"--kill-after={_SAVE}", f"{asked.minutes}m"]
    return f"""#!/bin/sh
mkdir -p {mount}
mount -t nfs {shlex.quote(asked.volume)} {mount} || exit 1
{shlex.join([*limit, *docker, asked.image, *_command(args, run)])}
{shlex.join(_gcloud(args, run, "delete", "--force", "--quiet", "--async"))}
"""


def create_command(args: Args, run: Run, script: Path) -> str:
    """gcloud's, for a queued resource of one TPU machine."""
    asked = args.resources
    options = [
        *(f"--node-id=run-{run.id}", f"--accelerator-type={asked.tpu}"),
        *(f"--runtime-version={args.runtime_version}", "--scopes=cloud-platform"),
        f"--metadata-from-file=startup-script={script}",
    ]
    return shlex.join(_gcloud(args, run, "create", *options))


def _gcloud(args: Args, run: Run, verb: str, *options: str) -> list[str]:
    place = [f"run-{run.id}", f"--project={args.project}", f"--zone={args.zone}"]
    return ["gcloud", "compute", "tpus", "queued-resources", verb, *place, *options]


def _command(args: Args, run: Run) -> list[str]:
    """The run, with its output in its folder; that of other hosts has their number."""
    folder = args.out.resolve() / run.id
    files = [shlex.quote(f"{folder}/{name}") for name in ("stdout", "log")]
    output, log = (name + "${WORLDMODEL_PROCESS#0}.txt" for name in files)
    call = shlex.join(["python", "-P", "-m", "launch.run", str(folder)])
    return ["sh", "-c", f"exec {call} >{output} 2>>{log}"]


def _check(args: Args) -> None:
    """Raises InputError by the option's name."""
    asked = args.resources
    needed = {"jobset": ("queue",), "tpu": ("project", "zone", "runtime_version")}[args.kind]
    options = {name: getattr(args, name) for name in needed}
    if args.kind == "tpu":
        options["tpu"] = asked.tpu
    elif asked.tpu:
        options["topology"] = asked.topology
    for name, value in options.items():
        if value is None:
            raise InputError(f"--kind {args.kind} needs --{name.replace('_', '-')}")
    if args.kind == "tpu" and (asked.hosts > 1 or asked.gpus):
        raise InputError("--kind tpu: a run has one host and no GPU; leave --hosts and --gpus out")
    counts = ("minutes", "cores", "hosts", "chips")
    check_options(**{name: getattr(asked, name) for name in counts})
    if not args.out.resolve().is_relative_to(asked.mount):
        raise InputError(f"--out {args.out.resolve()} is not below --mount {asked.mount}")


def main(line: tuple[Args, tuple[str, ...]]) -> int:
    """Writes the files; prints one JSON line."""
    args, overrides = line
    _check(args)
    sweep = plan(args.sweep, overrides)
    with locked(args.out):
        prepare(sweep, args.out, args.kind)
        code, runs = snapshot.read(args.out), unfinished(sweep.runs, args.out, args.rerun)
        specs = args.out.resolve() / "specs"
        with new_folder(specs, replace=True) as folder:
            if args.kind == "jobset":
                for run in runs:
                    write_json(folder / f"{run.id}.json", jobset(args, run, code))
            else:
                for run in runs:
                    write_text(folder / f"{run.id}.sh", startup_script(args, run, code))
                commands = [create_command(args, run, specs / f"{run.id}.sh") for run in runs]
                write_text(folder / "create.sh", "\n".join(["set -e", *commands, ""]))
    print(json.dumps({"runs": len(sweep.runs), "written": len(runs), "specs": str(specs)}))
    return 0


if __name__ == "__main__":
    sys.exit(runtime.run(main, command_line(Args, __doc__)))
