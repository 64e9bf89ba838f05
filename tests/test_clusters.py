"""Scripts for clusters: in a real SLURM of one node, where that is installed; the Job's fields."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import yaml

from helpers import ENVIRONMENT, PROJECT

NEEDED = ("slurmctld", "slurmd", "sbatch")
CONFIG = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/none
CredType=cred/none
AuthInfo=cred_expire=5
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1
MailProg=/bin/true
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES State=UP
"""


def until(condition, limit=180):
    """Wait for what other processes do; fail if it does not come."""
    end = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.2)
    return found


def free_ports(n):
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("", 0))
        return [one.getsockname()[1] for one in sockets]


@pytest.fixture
def slurm(tmp_path):
    """Run a command of a SLURM with one node, this machine; its output."""
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        pytest.skip(f"not installed: {', '.join(missing)}")
    import getpass

    folder = tmp_path / "slurm"
    (folder / "state").mkdir(parents=True)
    (folder / "cgroup.conf").touch()
    host = socket.gethostname().partition(".")[0]
    names = {"host": host, "user": getpass.getuser(), "cpus": os.cpu_count(), "folder": folder}
    (folder / "slurm.conf").write_text(CONFIG.format(ports=free_ports(2), **names))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"  # where torchrun is
    environment = {**ENVIRONMENT, "SLURM_CONF": str(folder / "slurm.conf"), "PATH": path}

    def run(*command, cwd=None, **more):
        options = {"capture_output": True, "text": True, "cwd": cwd}
        return subprocess.run(command, env={**environment, **more}, **options).stdout

    with ExitStack() as stack:
        for name in ("slurmctld", "slurmd"):
            log = stack.enter_context(open(folder / f"{name}.log", "w"))
            daemon = stack.enter_context(
                subprocess.Popen([name, "-D"], env=environment, stdout=log, stderr=log)
            )
            stack.callback(daemon.terminate)
        until(lambda: "idle" in run("sinfo", "-h"), limit=60)
        yield run
        run("scancel", "--user", getpass.getuser())
        until(lambda: not run("squeue", "-h"), limit=60)


@pytest.mark.slow
def test_a_job_array_saves_queues_up_again_and_goes_on(slurm, bake, tmp_path):
    """Two seeds: the time of the first is over and it begins again, the second is cancelled."""
    project, runs = bake(size="full"), tmp_path / "runs"
    small = ["--array=3-4", "--gpus-per-node=0", "--cpus-per-task=1"]
    of_train = [f"trainer.save_dir={runs}", "trainer.epochs=1000", "trainer.early_stop=0"]
    of_train += ["trainer.keep_last=1", "trainer.report=false", "trainer.tensorboard=false"]
    command = ["sbatch", "--parsable", *small, "docs/clusters/train.sbatch", "-d", "cpu", *of_train]
    job = slurm(*command, cwd=project, PER_NODE="2").strip()
    seeds = {seed: runs / f"train_{job}_seed{seed}" for seed in (3, 4)}
    until(lambda: all(list(one.glob("*/last.pth")) for one in seeds.values()))
    run_of = {seed: next(one.iterdir()) for seed, one in seeds.items()}

    def output(run):
        """What the job has written that trains in this run directory."""
        texts = [path.read_text() for path in project.glob("train-*.log")]
        return next(text for text in texts if f"Run directory: {run}" in text)

    slurm("scancel", "--signal=USR1", "--batch", f"{job}_3")
    slurm("scancel", f"{job}_4")
    outputs = [(run_of[3], "Resuming after epoch"), (run_of[4], "stopped by SIGTERM")]
    until(lambda: all(words in output(run) for run, words in outputs))
    [step] = re.findall(r"^epoch.* step (\d+): stopped by SIGTERM", output(run_of[3]), re.MULTILINE)
    assert f"step {step} of {run_of[3] / 'last.pth'}" in output(run_of[3])
    until(lambda: f"{job}_4" not in slurm("squeue", "-h", "-r", "-o", "%i"))
    assert "Resuming" not in output(run_of[4])
    for seed, run in run_of.items():
        assert json.loads((run / "config.json").read_text())["seed"] == seed


def test_the_job_for_kubernetes_fits_together():
    path = PROJECT / "docs" / "clusters" / "job.yaml"
    service, job = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    assert (service["apiVersion"], service["kind"]) == ("v1", "Service")
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    name, spec = job["metadata"]["name"], job["spec"]
    pod = spec["template"]["spec"]
    [container] = pod["containers"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert service["spec"]["clusterIP"] == "None"
    assert pod["subdomain"] == service["metadata"]["name"]
    assert spec["completionMode"] == "Indexed" and pod["restartPolicy"] == "OnFailure"

    options = [one for one in container["command"] if one.startswith("--")]
    options = dict(one.removeprefix("--").split("=") for one in options)
    assert spec["parallelism"] == spec["completions"] == int(options["nnodes"])
    assert options["rdzv-endpoint"].startswith(f"{name}-0.{pod['subdomain']}:")
    environment = {one["name"]: one["value"] for one in container["env"]}
    seconds = int(environment["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])
    assert seconds < pod["terminationGracePeriodSeconds"]
    assert environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    assert set(mounts) == {volume["name"] for volume in pod["volumes"]}
    assert f"trainer.save_dir={mounts['saved']}" in container["command"]
