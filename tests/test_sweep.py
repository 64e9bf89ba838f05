"""sweep.py with real trainings: killed anywhere, shared, with torchrun, on a database."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress

import pytest

from helpers import ENVIRONMENT, succeed

pytest.importorskip("optuna")
pytestmark = pytest.mark.slow

SPACE = {
    "optimizer.args.lr": {"type": "float", "low": 1e-3, "high": 0.3, "log": True},
    "optimizer.type": {"type": "categorical", "choices": ["Adam", "SGD"]},
    "optimizer.args.momentum": {
        "type": "float",
        "low": 0.0,
        "high": 0.9,
        "when": {"optimizer.type": "SGD"},
    },
}
SEARCH = {
    "space": SPACE,
    "sampler": {"type": "TPESampler", "args": {"n_startup_trials": 3}},
    "pruner": {"type": "MedianPruner", "args": {"n_startup_trials": 2}},
}
SHORT = ["trainer.epochs=4", "trainer.report=false", "trainer.tensorboard=false"]
SHORT += ["trainer.save_period=1", "data_loader.args.drop_last=true"]
SEARCHED = ["sweep.py", "--search", "search.json", "--trials", "8", "--seeds", "2", *SHORT]


@pytest.fixture(scope="module")
def complete(bake):
    """A project that tests only copy."""
    project = bake(starter="minimal")
    (project / "search.json").write_text(json.dumps(SEARCH), encoding="utf-8")
    return project


@pytest.fixture
def project(complete, tmp_path):
    return shutil.copytree(complete, tmp_path / "project")


@contextmanager
def started(project, *arguments):
    """A process of Python in a session of its own, with its output in a file."""
    with (project / "output.txt").open("a") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=project,
            env=ENVIRONMENT,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(condition, process):
    """Wait for something that a process is to do; False where it ends before."""
    while not condition():
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            return False
    return True


def saved(project):
    return project / "saved" / "Penguins_Linear"


def lines_of(project, name="search"):
    """How much the study has been told."""
    path = saved(project) / name / "journal.log"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def trial_processes(project):
    """Those that train now, by what their runs say."""
    for path in saved(project).glob("*/environment.json"):
        with suppress(ValueError):
            if "how" not in (start := json.loads(path.read_text())[-1]):
                yield start["pid"]


def table(project, name="search"):
    return (saved(project) / name / "runs.csv").read_text(encoding="utf-8")


def rows(project, name="search"):
    return list(csv.DictReader(table(project, name).splitlines()))


def test_killed_at_random_moments_it_gives_the_same_table(complete, tmp_path):
    straight, killed = (shutil.copytree(complete, tmp_path / name) for name in "ab")
    succeed(*SEARCHED, cwd=straight)
    assert {row["state"] for row in rows(straight)} == {"complete", "pruned"}
    chance, kills = random.Random(0), {"command": 0, "trial": 0}
    while kills["command"] < 3:
        with started(killed, *SEARCHED) as command:
            for victim in chance.sample(["trial", "trial", "command"], 3):
                goal = lines_of(killed) + chance.randint(5, 30)
                if not wait_until(lambda goal=goal: lines_of(killed) >= goal, command):
                    break
                numbers = [command.pid] if victim == "command" else [*trial_processes(killed)]
                for number in numbers:
                    with suppress(ProcessLookupError):  # it has just ended
                        os.kill(number, signal.SIGKILL)
                        kills[victim] += 1
                if victim == "command":
                    break
            else:
                continue
            assert victim == "command", (killed / "output.txt").read_text()
    succeed(*SEARCHED, cwd=killed)
    assert table(killed) == table(straight)
    assert kills["trial"] > 0
    for run in saved(straight).glob("search_*"):
        same = [(saved(one) / run.name / "metrics.csv").read_text() for one in (straight, killed)]
        assert same[0] == same[1]
    starts = json.loads((saved(killed) / "search_trial007_seed1" / "environment.json").read_text())
    succeed(*SEARCHED, cwd=killed)  # nothing is trained twice
    again = json.loads((saved(killed) / "search_trial007_seed1" / "environment.json").read_text())
    assert again == starts and table(killed) == table(straight)
