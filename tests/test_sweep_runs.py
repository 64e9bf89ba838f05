"""sweep.py with real trainings: killed anywhere, shared, with torchrun, on a database."""

import csv
import json
import multiprocessing
import multiprocessing.forkserver
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from helpers import FORKSERVER, PROJECT, run_script, succeed

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
SHORT += ["trainer.save_period=1"]
LONGER = ["trainer.epochs=25", "trainer.early_stop=0", *SHORT[1:]]
SEARCHED = ["--search", "search.json", "--trials", "8", "--seeds", "2", *SHORT]


@pytest.fixture(scope="module")
def complete(bake):
    """A project that tests only copy."""
    project = bake(starter="minimal", size="full")
    (project / "search.json").write_text(json.dumps(SEARCH), encoding="utf-8")
    return project


@pytest.fixture
def project(complete, tmp_path):
    return shutil.copytree(complete, tmp_path / "project")


def run_sweep(project, arguments, output):
    """As python sweep.py, in a process that has torch; its trainings are copies of that too."""
    if sys.version_info < (3, 14):
        multiprocessing.forkserver._forkserver.ensure_running = lambda: None
    run_script(project, [str(project / "sweep.py"), *arguments], output)


@contextmanager
def started(project, *arguments):
    """A process of sweep.py; what it prints goes to a file of its own, its `output`."""
    output = project / f"output{len([*project.glob('output*')])}.txt"
    process = FORKSERVER.Process(target=run_sweep, args=(project, arguments, output))
    process.output = output
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def sweep(project, *arguments, status=0):
    """The output of a sweep that comes to its end."""
    with started(project, *arguments) as process:
        process.join()
    output = process.output.read_text(encoding="utf-8")
    assert process.exitcode == status and "Traceback" not in output, output
    return output


def wait_until(condition, process):
    """Wait for something that a process is to do; False where it ends before."""
    while not condition():
        process.join(0.02)
        if not process.is_alive():
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


def table(project, name="search", file="runs.csv"):
    return (saved(project) / name / file).read_text(encoding="utf-8")


def rows(project, name="search", file="runs.csv"):
    return list(csv.DictReader(table(project, name, file).splitlines()))


def test_killed_at_random_moments_it_gives_the_same_table(complete, tmp_path):
    straight, killed = (shutil.copytree(complete, tmp_path / name) for name in "ab")
    sweep(straight, *SEARCHED)
    assert {row["state"] for row in rows(straight)} == {"complete", "pruned"}
    chance, kills = random.Random(0), {"command": 0, "trial": 0}
    while kills["command"] < 6:
        with started(killed, *SEARCHED) as command:
            goal = lines_of(killed) + chance.randint(1, 25)
            if not wait_until(lambda goal=goal: lines_of(killed) >= goal, command):
                break
            if chance.random() < 0.6:
                wait_until(lambda: [*trial_processes(killed)], command)
            for number in trial_processes(killed):
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(number, signal.SIGKILL)
                    kills["trial"] += 1
            goal = lines_of(killed) + chance.randint(1, 12)
            wait_until(lambda goal=goal: lines_of(killed) >= goal, command)
        kills["command"] += 1  # by the end of the block
    sweep(killed, *SEARCHED)
    assert table(killed) == table(straight)
    assert kills["command"] > 2 and kills["trial"] > 0
    for run in saved(straight).glob("search_*"):
        same = [(saved(one) / run.name / "metrics.csv").read_text() for one in (straight, killed)]
        assert same[0] == same[1]
    before = starts_of(killed)
    sweep(killed, *SEARCHED)
    assert starts_of(killed) == before  # nothing is trained twice
    assert table(killed) == table(straight)


def starts_of(project):
    """How often each run was begun or gone on with."""
    paths = saved(project).glob("*/environment.json")
    return {path.parent.name: len(json.loads(path.read_text())) for path in paths}


def test_several_processes_share_the_trials_of_a_journal(project):
    grid = {"space": {"optimizer.args.lr": {"type": "categorical", "choices": [0.1, 0.01, 0.001]}}}
    grid |= {"sampler": "GridSampler"}
    (project / "grid.json").write_text(json.dumps(grid))
    arguments = ["--search", "grid.json", "--folds", "2", *LONGER]
    with started(project, *arguments) as one, started(project, *arguments) as two:
        assert wait_until(lambda: len([*trial_processes(project)]) == 2, one)
        one.kill()  # the other takes up its trial
        two.join()
        assert two.exitcode == 0, two.output.read_text()
    found = rows(project, "grid")
    assert [row["state"] for row in found] == ["complete"] * 6
    assert {row["fold"] for row in found} == {"0", "1"}
    starts = starts_of(project)
    assert sum(starts.values()) in (6, 7)
    trials = [row["trial"] for row in rows(project, "grid", "table.csv")]
    assert sorted(trials) == ["0", "1", "2"]


def test_seeds_and_folds_are_ordinary_runs_that_are_grouped(project):
    output = sweep(project, "--seeds", "2", "--folds", "2", "--jobs", "2", *SHORT[:1])
    assert "n = 4" in output or " 4" in output
    runs = sorted(path.name for path in saved(project).glob("seeds_folds_*"))
    assert runs == [f"seeds_folds_seed{s}_fold{f}" for s in (0, 1) for f in (0, 1)]
    for name in ("model_best.pth", "metrics.csv", "config.json", "report.html", "data.json"):
        assert all((saved(project) / run / name).exists() for run in runs), name
    assert [*saved(project).glob(f"{runs[0]}/events.out.tfevents*")]
    validated = [json.loads((saved(project) / run / "data.json").read_text()) for run in runs[:2]]
    assert validated[0] != validated[1]
    table = succeed("-m", "tools.groups", cwd=project)
    heading, line = table.splitlines()
    assert "±" in line and re.search(r"\b4\b", line), table
    values = [float(row["val_loss"]) for row in rows(project, "seeds_folds")]
    assert f"{statistics.fmean(values):.4g} ± {statistics.stdev(values):.2g}" in line
    best = saved(project) / runs[1] / "model_best.pth"
    assert "100 test samples" in succeed("test.py", "-r", str(best), cwd=project)
    succeed("train.py", "-r", str(saved(project) / runs[1] / "last.pth"), cwd=project)


def test_the_best_config_trains_as_it_is_and_the_page_has_the_plots(project):
    sweep(project, "--search", "search.json", "--trials", "5", *SHORT)
    page = (saved(project) / "search" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 3
    output = succeed("train.py", "-c", str(saved(project) / "search/best.json"), cwd=project)
    assert "best" in output
    more = sweep(project, "--search", "search.json", "--trials", "6", *SHORT)  # one more
    assert "6 of 6 trials" in more
    changed = SEARCH | {"sampler": "RandomSampler"}
    (project / "search.json").write_text(json.dumps(changed))
    line = sweep(project, "--search", "search.json", "--trials", "6", *SHORT, status=2)
    assert line.count("\n") == 1 and "search.sampler.type = 'TPESampler', which is now" in line


def test_what_fails_does_not_stop_the_rest_and_can_be_tried_again(project):
    model = project / "model" / "model.py"
    text = model.read_text(encoding="utf-8")
    code = "        import os\n        assert os.environ.get('GOOD') or n_hidden != 3, 'three'\n"
    text = text.replace("n_outputs: int = 3", "n_outputs: int = 3, n_hidden: int = 1")
    model.write_text(text.replace("super().__init__()\n", f"super().__init__()\n{code}", 1))
    space = {"arch.args.n_hidden": {"type": "int", "low": 2, "high": 4, "step": 1}}
    (project / "grid.json").write_text(json.dumps({"space": space, "sampler": "GridSampler"}))
    arguments = ["--search", "grid.json", *SHORT]
    output = sweep(project, *arguments, status=1)
    assert "failed: AssertionError: three" in output and output.count("complete") == 2
    assert "--retry takes the trials" in output.splitlines()[-1]
    assert sweep(project, *arguments, status=1).count("complete") == 2
    model.write_text(model.read_text().replace("n_hidden != 3", "True"))
    assert sweep(project, *arguments, "--retry").count("complete") == 3


def test_a_signal_lets_trainings_save_and_the_same_command_goes_on(project):
    arguments = ["--seeds", "2", "trainer.epochs=2000", *SHORT[1:]]
    with started(project, *arguments) as command:
        assert wait_until(lambda: [*saved(project).glob("*/last.pth")], command)
        os.kill(command.pid, signal.SIGTERM)
        command.join()
        output = command.output.read_text()
    assert command.exitcode == 128 + signal.SIGTERM, output
    assert output.splitlines()[-1] == "stopped by a signal; the same command goes on"
    [start] = json.loads((saved(project) / "seeds_seed0" / "environment.json").read_text())
    assert start["how"] == "interrupted" and not [*trial_processes(project)]


def test_a_trial_can_be_several_processes(project):
    arguments = ["--search", "search.json", "--trials", "1", "--nproc-per-trial", "2", *SHORT]
    assert sweep(project, *arguments).count("complete") == 1
    log = (saved(project) / "search" / "logs" / "search_trial000.log").read_text()
    assert "batch norm is of each process by itself" in log
    journal = (saved(project) / "search" / "journal.log").read_text()
    told = [json.loads(line) for line in journal.splitlines()]
    assert [one["step"] for one in told if "step" in one] == [1, 2, 3, 4]


@pytest.fixture
def database(tmp_path):
    """The URL of a database of a PostgreSQL that was started for the test."""
    pytest.importorskip("psycopg", reason="no driver: pip install psycopg[binary]")
    found = [shutil.which("initdb"), *Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    programs = [Path(one).parent for one in found if one]
    if not programs:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    user = {"user": "postgres"} if os.geteuid() == 0 else {}  # it refuses root
    folder = Path(tempfile.mkdtemp(dir="/tmp"))  # the path of a socket is short
    folder.chmod(0o777)
    data = folder / "data"

    def run(program, *arguments):
        command = [programs[0] / program, *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=folder, **user)

    run("initdb", "-D", data, "-U", "ann", "--auth=trust", "--no-sync")
    options = f"-k {folder} -c listen_addresses='' -c fsync=off"
    run("pg_ctl", "-D", data, "-w", "-l", folder / "log", "-o", options, "start")
    try:
        yield f"postgresql://ann@/postgres?host={folder}"
    finally:
        run("pg_ctl", "-D", data, "-m", "immediate", "stop")
        shutil.rmtree(folder)


def test_two_processes_share_a_database_and_one_of_them_dies(project, database):
    arguments = ["--search", "search.json", "--trials", "4", "--storage", database, *LONGER]
    arguments.append("trainer.epochs=100")  # else one may have done all before the other begins
    with started(project, *arguments) as one, started(project, *arguments) as two:
        assert wait_until(lambda: len([*trial_processes(project)]) == 2, one)
        one.kill()
        two.join()
        assert two.exitcode == 0, two.output.read_text()
    assert {row["trial"] for row in rows(project)} == set("0123")
    assert {row["state"] for row in rows(project)} <= {"complete", "pruned"}


def test_the_commands_of_the_page(project):
    page = (PROJECT / "docs" / "sweep.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"```yaml\n# (\S+)\n(.*?)```", page, re.DOTALL):
        (project / name).write_text(text, encoding="utf-8")
    lines = [line.removeprefix("$ ").split("  #")[0].strip() for line in page.splitlines()]
    commands = [line.split()[1:] for line in lines if line.startswith("python sweep.py")]
    assert len(commands) > 6
    fewer = {"trials": 1, "seeds": 2, "folds": 2, "jobs": 2}
    for number, [script, *arguments] in enumerate(commands):
        assert script == "sweep.py"
        text = " ".join(arguments).replace("/shared", str(project))
        if "postgresql" in text or "nproc" in text:
            continue  # the tests above do it
        for name, n in fewer.items():
            text = re.sub(rf"--{name} \d+", f"--{name} {n}", text)
        name = ["--name", f"sweep{number}"]
        sweep(project, *text.split(), *name, *SHORT[1:], "trainer.epochs=1")
