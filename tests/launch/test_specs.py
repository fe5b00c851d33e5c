"""Specs for Kubernetes and Cloud TPU: goldens, published field names, and what is refused.

Goldens are renewed, where a spec is meant to change, by writing what ``specs`` returns for the
arguments below to ``tests/launch/golden``.
"""

import dataclasses
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launch.collect import collect
from launch.snapshot import Snapshot, read
from launch.specs import Args, Resources, create_command, jobset, main, startup_script
from launch.sweep import Run, plan, prepare
from tests.helpers import command
from tests.helpers.refusal import refused
from worldmodel.errors import InputError

GOLDEN = Path(__file__).parent / "golden"
FIT = str(command.ROOT / "tests" / "helpers" / "slow_fit.py")
RUN = Run("0123456789ab", "seed=0", ("--seed", "0"), {"seed": 0})
CODE = Snapshot(Path("/data/runs/throw/snapshot"), {}, ("package", "config"))
GPU = Args(
    "throw.py:sweep",
    Path("/data/runs/throw"),
    "jobset",
    Resources(
        "lab/worldmodel:1", 60, "runs", Path("/data"), cores=8, memory="32Gi", gpus=1, hosts=2
    ),
    queue="team",
)
SLICE = Args(
    "throw.py:sweep",
    Path("/data/runs/throw"),
    "jobset",
    Resources("lab/worldmodel:1", 60, "runs", Path("/data"), tpu="tpu-v6e-slice", topology="2x2"),
    queue="team",
)
QUEUED = Args(
    "throw.py:sweep",
    Path("/data/runs/throw"),
    "tpu",
    Resources("lab/worldmodel:1", 60, "10.0.0.2:/runs", Path("/data"), tpu="v6e-4"),
    project="lab",
    zone="us-east5-b",
    runtime_version="v2-alpha-tpuv6e",
)

# Fields of jobset.x-k8s.io/v1alpha2, batch/v1 and v1 that a spec may hold, as published in JobSet's
# CRD; a list has the fields of its items. A text is a value's type.
POD = {
    "restartPolicy": "str",
    "terminationGracePeriodSeconds": "int",
    "nodeSelector": "labels",
    "containers": [
        {
            "name": "str",
            "image": "str",
            "command": "list",
            "workingDir": "str",
            "env": [
                {
                    "name": "str",
                    "value": "str",
                    "valueFrom": {"fieldRef": {"fieldPath": "str", "apiVersion": "str"}},
                }
            ],
            "resources": {"limits": "labels", "requests": "labels"},
            "volumeMounts": [{"name": "str", "mountPath": "str", "readOnly": "bool"}],
        }
    ],
    "volumes": [{"name": "str", "persistentVolumeClaim": {"claimName": "str"}}],
}
JOB = {
    "completionMode": "str",
    "completions": "int",
    "parallelism": "int",
    "backoffLimit": "int",
    "activeDeadlineSeconds": "int",
    "podFailurePolicy": {
        "rules": [
            {
                "action": "str",
                "onExitCodes": {"containerName": "str", "operator": "str", "values": "list"},
                "onPodConditions": [{"type": "str", "status": "str"}],
            }
        ]
    },
    "template": {"metadata": {}, "spec": POD},
}
JOBSET = {
    "apiVersion": "str",
    "kind": "str",
    "metadata": {"name": "str", "labels": "labels", "namespace": "str"},
    "spec": {
        "replicatedJobs": [
            {"name": "str", "replicas": "int", "template": {"metadata": {}, "spec": JOB}}
        ]
    },
}
# Options of gcloud compute tpus queued-resources create, as published.
GCLOUD = {
    *("node-id", "accelerator-type", "runtime-version", "scopes", "metadata-from-file"),
    *("project", "zone"),
}


def unpublished(spec: Any, fields: Any, place: str = "") -> list[str]:
    """Places of a spec that the published fields do not have, or have with another type."""
    if isinstance(fields, dict):
        strange = [f"{place}.{name}" for name in spec if name not in fields]
        parts = [unpublished(v, fields[k], f"{place}.{k}") for k, v in spec.items() if k in fields]
        return strange + [text for part in parts for text in part]
    if isinstance(fields, list):
        parts = [unpublished(item, fields[0], f"{place}[]") for item in spec]
        return [text for part in parts for text in part]
    if fields == "labels":
        return [f"{place}.{k}" for k, v in spec.items() if not isinstance(v, str | int)]
    return [] if type(spec).__name__ == fields else [place]


@pytest.mark.parametrize(
    ("args", "golden"), [(GPU, "jobset_gpu.json"), (SLICE, "jobset_tpu.json")], ids=["gpu", "tpu"]
)
def test_a_jobset_is_the_golden_and_has_published_fields_alone(args: Args, golden: str) -> None:
    spec = jobset(args, RUN, CODE)
    assert spec == json.loads((GOLDEN / golden).read_text())
    assert unpublished(spec, JOBSET) == []
    container = spec["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    assert "seed" not in json.dumps(container)  # hyperparameters stay in the run's folder


def test_unpublished_fields_are_seen() -> None:
    spec = jobset(GPU, RUN, CODE)
    job = spec["spec"]["replicatedJobs"][0]["template"]["spec"]
    job["paralelism"], job["completions"] = 2, "2"
    assert unpublished(spec, JOBSET) == [
        ".spec.replicatedJobs[].template.spec.paralelism",
        ".spec.replicatedJobs[].template.spec.completions",
    ]


def test_a_queued_resource_is_the_golden_and_has_published_options_alone() -> None:
    created = create_command(QUEUED, RUN, Path("/data/runs/throw/specs/0123456789ab.sh"))
    text = f"{created}\n{startup_script(QUEUED, RUN, CODE)}"
    assert text == (GOLDEN / "queued_resource.sh").read_text()
    line = shlex.split(created)
    assert line[:6] == ["gcloud", "compute", "tpus", "queued-resources", "create", f"run-{RUN.id}"]
    assert {option[2:].split("=")[0] for option in line[6:]} == GCLOUD


@pytest.mark.parametrize("kind", ["jobset", "tpu"])
def test_a_sweep_is_written_and_what_is_done_is_not(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    line = ["launch.specs", f"{FIT}:two", "--out", str(out), "--kind", kind, "--minutes", "5"]
    line += ["--image", "lab/worldmodel:1", "--volume", "runs", "--mount", str(tmp_path)]
    line += ["--queue", "team"] if kind == "jobset" else ["--tpu", "v6e-4", "--project", "lab"]
    line += [] if kind == "jobset" else ["--zone", "z", "--runtime-version", "v2"]
    done = command.run(*line)
    assert (done.returncode, json.loads(done.stdout)["written"]) == (0, 2), done.stderr
    first, second = json.loads((out / "settings.json").read_text())["runs"]
    (out / first / "status.json").write_text('{"state": "done", "attempt": 1}')
    again = command.run(*line)
    assert json.loads(again.stdout)["written"] == 1, again.stderr
    written = f"{second}.json" if kind == "jobset" else f"{second}.sh"
    names = {path.name for path in (out / "specs").iterdir()}
    assert names == ({written} if kind == "jobset" else {written, "create.sh"})
    text = (out / "specs" / written).read_text()
    assert f"{out}/snapshot/package" in text and f"{out}/{second}" in text


def test_what_a_pod_runs_fills_the_folder_of_its_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    sweep = plan(f"{FIT}:one")
    prepare(sweep, out, "jobset")
    asked = dataclasses.replace(GPU.resources, mount=tmp_path, hosts=1)
    args = dataclasses.replace(GPU, out=out, resources=asked)
    spec = jobset(args, sweep.runs[0], read(out))
    pod = spec["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    where = {v["name"]: v["value"] for v in container["env"]}
    where["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
    subprocess.run(container["command"], env=where, cwd=container["workingDir"], check=True)
    rows, absent = collect(out)
    assert (rows[0]["count"], absent) == (3, {})
    assert "begins at 0" in (out / sweep.runs[0].id / "log.txt").read_text()


@pytest.mark.parametrize(
    ("args", "changes", "message"),
    [
        (dataclasses.replace(GPU, queue=None), {}, "--kind jobset needs --queue"),
        (SLICE, {"topology": None}, "needs --topology"),
        (dataclasses.replace(QUEUED, zone=None), {}, "needs --zone"),
        (QUEUED, {"tpu": None}, "needs --tpu"),
        (QUEUED, {"hosts": 2}, "a run has one host"),
        (GPU, {"hosts": 0}, "--hosts 0: at least 1"),
        (GPU, {"mount": Path("/elsewhere")}, "is not below --mount /elsewhere"),
    ],
)
def test_bad_options_are_named(args: Args, changes: dict, message: str) -> None:
    changed = dataclasses.replace(args, resources=dataclasses.replace(args.resources, **changes))
    refused(message, main, (changed, ()), kind=InputError)
    assert not args.out.exists()
