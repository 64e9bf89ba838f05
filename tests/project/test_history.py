"""What runs.py says about runs, and how each of them ended."""

import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime

import pytest

from helpers import Copy, python
from runs import Run, find_runs, main
from tools.history import RecordedRun, duration, is_alive
from train import build_trainer
from utils.errors import RunError
from utils.files import PROJECT_DIR, read_json, write_json
from utils.run_dir import mark_start

REFUSED = "another process is training this run; delete .lock0 if none is"


def test_finished_and_stopped_early(make_trainer):
    trainer = make_trainer()
    trainer.train()
    run = RecordedRun(trainer.checkpoint_dir)
    assert (run.status, run.epochs, run.best["epoch"]) == ("finished", 2, 2)
    assert run.best["val_loss"] == trainer.mnt_best
    assert list(run.epoch_seconds) == [1, 2] and run.seconds > 0
    changes = {"trainer.early_stop": 1, "trainer.epochs": 9, "optimizer.args.lr": 0.0}
    lazy = make_trainer(changes)
    lazy.train()
    run = Run(lazy.checkpoint_dir)
    assert (run.status, run.epochs, run.best["epoch"]) == ("stopped early", 2, 1)
    resumed = make_trainer(changes, resume=lazy.checkpoint_dir / "last.pth")
    resumed.train()
    assert Run(lazy.checkpoint_dir).status == "stopped early"


@pytest.mark.parametrize(
    ("trouble", "status", "reason"),
    [
        (OSError("no such file"), "failed", r"trainer/trainer\.py:\d+: no such file"),
        (ZeroDivisionError("oh"), "failed", r"trainer/trainer\.py:\d+: ZeroDivisionError: oh"),
        (KeyboardInterrupt(), "interrupted", ""),
        (signal.SIGTERM, "interrupted", ""),
    ],
)
def test_failed_and_interrupted(make_trainer, trouble, status, reason):
    trainer = make_trainer()

    def train_step(batch):
        if isinstance(trouble, BaseException):
            raise trouble
        os.kill(os.getpid(), trouble)
        return {}

    trainer.train_step = train_step
    with pytest.raises((RunError, ZeroDivisionError, KeyboardInterrupt)):
        trainer.train()
    run = RecordedRun(trainer.checkpoint_dir)
    assert (run.status, run.best, run.seconds) == (status, {}, 0)
    assert re.fullmatch(reason, run.reason)


@pytest.mark.skipif(os.name != "posix", reason="only there can it be told")
def test_running_and_killed(tmp_path):
    args = [f"trainer.save_dir={tmp_path}", "trainer.epochs=100000000"]
    args += ["trainer.len_epoch=4", "trainer.tensorboard=false", "trainer.early_stop=null"]
    args += ["trainer.save_period=1000", "trainer.save_every.steps=4", "-d", "cpu"]
    command = [PROJECT_DIR / "train.py", *args]
    process = Copy(command)
    deadline = time.monotonic() + 60
    while not (found := [*tmp_path.glob("*/*/last.pth")]):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    [run] = find_runs(tmp_path)
    assert run.status == "running or killed" and RecordedRun(run.path).status == "running"
    again = python(*command, "-r", found[0])
    assert (again.returncode, again.stderr) == (2, f"{run.path}: {REFUSED}\n")
    process.kill()
    process.communicate()
    [run] = find_runs(tmp_path)
    assert run.status == "running or killed" and run.epochs > 0
    assert RecordedRun(run.path).status == "interrupted"


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="Linux says when a process began")
def test_a_later_process_with_the_same_number_is_another():
    now = datetime.now().astimezone().isoformat()
    assert is_alive(os.getpid(), now)
    assert not is_alive(os.getpid(), "2020-01-01T00:00:00+00:00")


def test_of_what_runs_elsewhere_nobody_here_can_tell(make_trainer):
    trainer = make_trainer({"trainer.epochs": 1})
    trainer.train()
    mark_start(trainer.checkpoint_dir)  # as when it goes on, and is killed
    path = trainer.checkpoint_dir / "environment.json"
    [start] = read_json(path)
    del start["how"]
    write_json([start | {"host": "another"}], path)
    assert RecordedRun(trainer.checkpoint_dir).status == "running or killed"
    path.unlink()
    assert RecordedRun(trainer.checkpoint_dir).status == "running or killed"


@pytest.fixture
def three(make_config, tmp_path):
    """Runs that differ in the learning rate; the second is the best, the third has failed."""
    for number, rate in enumerate([1e-4, 1e-2, 1e30]):
        changes = {"optimizer.args.lr": rate, "trainer.epochs": 1}
        trainer = build_trainer(make_config(changes, run_id=f"run{number}"))
        try:
            trainer.train()
        except RunError:
            pass
    return tmp_path / "saved"


def table(capsys, *args):
    main(list(map(str, args)))
    head, *lines = capsys.readouterr().out.splitlines()
    return re.split("  +", head), [re.split("  +", line) for line in lines]


def test_the_table_has_what_differs_and_can_be_sorted(three, capsys):
    head, lines = table(capsys, "--dir", three)
    assert head == ["run", "status", "epochs", "monitor", "best", "at", "optimizer.args.lr"]
    assert [line[0] for line in lines] == ["Digits/run0", "Digits/run1", "Digits/run2"]
    assert [line[1] for line in lines] == ["finished", "finished", "failed"]
    best = Run(three / "Digits" / "run1").best["val_loss"]
    assert lines[1][2:] == ["1", "val_loss", f"{best:.4g}", "1", "0.01"]
    assert lines[2][2:] == ["0", "val_loss", "null", "null", "1e+30"]
    for column, order in (("best", "201"), ("optimizer.args.lr", "012"), ("status", "201")):
        _, lines = table(capsys, "--dir", three, "--sort", column)
        assert "".join(line[0][-1] for line in lines) == order, column


def test_what_cannot_be_read_or_is_no_run_is_left_out(three, capsys):
    (three / "Digits" / "run0" / "config.json").write_text("{")
    (three / "Digits" / "run1" / ".run").unlink()
    with open(three / "Digits" / "run2" / "metrics.csv", "w") as file:
        file.write("epoch,val_loss,words\n1,nan,a\n2,0.5,\n3,0.5,b\n")
    _, [line] = table(capsys, "--dir", three)
    assert line[0] == "Digits/run2" and line[2:] == ["3", "val_loss", "0.5", "2"]


def test_epochs_are_whole_numbers_however_many_they_are(three, capsys):
    (three / "Digits" / "run2" / "metrics.csv").write_text("epoch,val_loss\n12340,0.5\n")
    _, lines = table(capsys, "--dir", three)
    assert lines[2][2:6] == ["12340", "val_loss", "0.5", "12340"]


def test_a_column_that_is_not_there_is_one_line(three, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--dir", str(three), "--sort", "bst"])
    expected = "command line: --sort bst: no such column; valid: run, status, epochs"
    assert capsys.readouterr().err.startswith(expected)


def test_no_runs_are_no_mistake(tmp_path, capsys):
    assert table(capsys, "--dir", tmp_path)[1] == []


def test_neither_the_table_nor_help_waits_for_torch(three, tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    for script, args in (("runs", ["--dir", three]), ("runs", ["--help"]), ("report", ["--help"])):
        done = subprocess.run(
            [sys.executable, "-W", "error", PROJECT_DIR / f"{script}.py", *args],
            env={"PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0 and done.stdout, done.stderr


def test_times_are_shown_in_words():
    assert [duration(n) for n in (4.4, 200, 18420)] == ["4 s", "3:20 min", "5:07 h"]
