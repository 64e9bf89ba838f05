"""What runs.py says about runs, and how each of them ended."""

import os
import re
import signal
import subprocess
import sys
import time
from datetime import datetime

import pytest

from runs import as_text, delete, main, rows_of
from tools.history import Run, duration, find_runs, is_alive
from train import build_trainer
from utils.errors import RunError
from utils.files import PROJECT_DIR, read_json, write_json
from utils.run import prepare


def test_finished_and_stopped_early(make_trainer):
    trainer = make_trainer()
    trainer.train()
    run = Run(trainer.checkpoint_dir)
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
        (OSError("no such file"), "failed", "no such file"),
        (ZeroDivisionError("oh"), "failed", "ZeroDivisionError('oh')"),
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
    run = Run(trainer.checkpoint_dir)
    assert (run.status, run.reason, run.best, run.seconds) == (status, reason, None, 0)


@pytest.mark.skipif(os.name != "posix", reason="only there can it be told")
def test_running_and_killed(tmp_path):
    args = [f"trainer.save_dir={tmp_path}", "trainer.epochs=100000000"]
    args += ["trainer.len_epoch=4", "trainer.tensorboard=false", "trainer.early_stop=null"]
    args += ["trainer.save_period=1000", "trainer.save_every.steps=4", "-d", "cpu"]
    command = [sys.executable, PROJECT_DIR / "train.py", *args]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not (found := [*tmp_path.glob("*/*/last.pth")]):
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    [run] = find_runs(tmp_path)
    assert run.status == "running"
    again = subprocess.run([*command, "-r", found[0]], capture_output=True, text=True)
    assert again.returncode == 2 and f"process {process.pid} is training this run" in again.stderr
    process.kill()
    process.wait()
    [run] = find_runs(tmp_path)
    assert run.status == "interrupted" and run.epochs > 0


@pytest.mark.skipif(not os.path.exists("/proc/stat"), reason="Linux says when a process began")
def test_a_later_process_with_the_same_number_is_another():
    now = datetime.now().astimezone().isoformat()
    assert is_alive(os.getpid(), now)
    assert not is_alive(os.getpid(), "2020-01-01T00:00:00+00:00")


def test_what_runs_elsewhere_or_was_made_by_others_is_unknown(make_trainer):
    trainer = make_trainer({"trainer.epochs": 1})
    trainer.train()
    path = trainer.checkpoint_dir / "environment.json"
    [start] = read_json(path)
    del start["how"]
    write_json([start | {"host": "another"}], path)
    assert Run(trainer.checkpoint_dir).status == "unknown"
    path.unlink()
    assert Run(trainer.checkpoint_dir).status == "unknown"


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


def table_of(capsys, *args):
    main(list(map(str, args)))
    head, *lines = capsys.readouterr().out.splitlines()
    return head.split(), lines


def test_the_table_has_what_differs_and_can_be_sorted_and_filtered(three, capsys):
    head, lines = table_of(capsys, "--dir", three)
    assert head == "run status monitor best at epochs time optimizer.args.lr".split()
    assert [line.split()[0][-4:] for line in lines] == ["run0", "run1", "run2"]
    assert [line.split()[1] for line in lines] == ["finished", "finished", "failed"]
    assert re.fullmatch(r"\S+ +finished +val_loss +\d\S+ +1 +1 +\d s +0\.01", lines[1])
    _, lines = table_of(capsys, "--dir", three, "--sort", "best")
    assert [line.split()[0][-1] for line in lines] == ["2", "0", "1"]
    _, lines = table_of(capsys, "--dir", three, "status=finished", "--sort", "optimizer.args.lr")
    assert [line.split()[0][-1] for line in lines] == ["0", "1"]
    head, lines = table_of(capsys, "--dir", three, "optimizer.args.lr=0.01", "arch.type=Digits*")
    assert [line.split()[0][-1] for line in lines] == ["1"] and "optimizer.args.lr" not in head


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--sort", "bst"], "command line: --sort bst: no such column; there are run, status"),
        (["finished"], "command line: 'finished' is not KEY=VALUE, as in status=finished"),
        (["statsu=failed"], "command line: statsu: no run has this key; did you mean 'status'?"),
    ],
)
def test_a_mistake_is_one_line(three, capsys, args, expected):
    with pytest.raises(SystemExit, match="2"):
        main(["--dir", str(three), *args])
    assert capsys.readouterr().err.startswith(expected)


def test_no_runs_are_no_mistake(tmp_path, capsys):
    main(["--dir", str(tmp_path)])
    assert capsys.readouterr().out == f"No run in {tmp_path}\n"


def test_the_page_has_the_table_and_a_color_for_each_run(three, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    main(["--dir", str(three), "--html", str(tmp_path / "runs.html")])
    page = (tmp_path / "runs.html").read_text(encoding="utf-8")
    assert "<th>optimizer.args.lr</th>" in page and page.count('src="data:image/png') == 1
    assert set(re.findall(r'color: (#\w+)">', page)) == {"#1f77b4", "#ff7f0e"}
    assert "http" not in page


@pytest.mark.parametrize(("words", "left"), [("y", 0), ("", 3), ("no", 3)])
def test_nothing_is_deleted_without_a_yes(three, words, left):
    delete(find_runs(three), answer=lambda question: words)
    assert len(find_runs(three)) == left


def test_a_run_at_work_is_not_deleted(make_trainer, tmp_path):
    trainer = make_trainer()
    prepare(trainer)  # and is not done
    [run] = find_runs(tmp_path / "saved")
    assert run.status == "running"
    delete([run], answer=lambda question: "y")
    assert run.path.exists()


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


def test_runs_of_other_monitors_and_numbers_are_shown_in_words(three):
    rows = rows_of(find_runs(three)) + [{"run": "a", "best": None, "time": 0, "more": [1] * 50}]
    last = as_text(rows).splitlines()[-1]
    assert last.startswith("a ") and last.endswith("[...]")
    assert [duration(n) for n in (4.4, 200, 18420)] == ["4 s", "3:20 min", "5:07 h"]
