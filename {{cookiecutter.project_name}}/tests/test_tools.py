import json
import re
import subprocess
from collections import Counter

import pytest
import torch
from example import CONFIG

import tools
from tools.record import record_start
from train import main
from trainer.trainer import Trainer
from utils.files import PROJECT_DIR, read_json


@pytest.fixture
def train(example_parts, tmp_path, capsys):
    """Run train.py's main with runs in tmp_path; its status, output and the new run directories."""

    def run(*argv):
        status = 0
        try:
            config = [] if {"-c", "-r"} & {*argv} else ["-c", str(CONFIG)]
            fixed = [f"trainer.save_dir={tmp_path / 'saved'}", "trainer.report=false"]
            main([*config, "-d", "cpu", *fixed, *argv])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out + err, sorted((tmp_path / "saved").glob("*/*"))

    return run


def test_check_reports_and_leaves_nothing_behind(train, tmp_path):
    status, output, _ = train("--check", "trainer.tensorboard=true")
    assert status == 0 and output.endswith("All is well.\n")
    for line in ("float32 (64, 1, 8, 8), int64 (64,)", "of which 38,282 are", "val_accuracy"):
        assert line in output
    assert "read back and equal" in output and "for an epoch of 22 batches" in output
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.monitor=max val_acuracy", "did you mean 'val_accuracy'?"),
        ("trainer.monitor=max acuracy", "did you mean 'accuracy'?"),
        ("optimizer.args.lr=1e30", "val_loss is nan on the first batch"),
    ],
)
def test_check_finds_what_others_notice_after_an_epoch(train, tmp_path, override, expected):
    status, output, _ = train("--check", override)
    assert status == 2 and expected in output and not any(tmp_path.iterdir())


def test_check_finds_a_step_that_learns_nothing(train, monkeypatch):
    monkeypatch.setattr(Trainer, "optimize", lambda self, loss: None)
    status, output, runs = train("--check", "lr_scheduler=null")
    assert status == 2 and "the first step has changed no weight" in output and not runs


@pytest.mark.parametrize("flag", sorted(tools.OF_A_NEW_RUN))
def test_what_starts_from_a_config_leaves_runs_alone(train, flag):
    _, _, [run_dir] = train("--fast-dev-run", "1")
    before = (run_dir / "last.pth").read_bytes()
    flag = f"--{flag.replace('_', '-')}"
    n = ["1"] if flag in ("--fast-dev-run", "--overfit-batches") else []
    status, output, [_] = train(flag, *n, "-r", str(run_dir / "last.pth"))
    assert status == 2 and f"{flag} starts from a config (-c)" in output
    assert (run_dir / "last.pth").read_bytes() == before


def test_fast_dev_run_is_one_short_epoch_with_everything_else_real(train):
    status, _, [run_dir] = train("--fast-dev-run", "3")
    assert status == 0 and (run_dir / "checkpoint-epoch1.pth").exists()
    assert len((run_dir / "metrics.csv").read_text().splitlines()) == 2
    assert "batch 3/3" not in (run_dir / "train.log").read_text()


def test_overfitting_a_batch_learns_it_by_heart(train):
    args = ["trainer.epochs=40", "arch.args.dropout=0", "lr_scheduler=null", "trainer.keep_last=1"]
    status, output, _ = train("--overfit-batches", "1", *args, "trainer.verbosity=1")
    last = next(line for line in output.splitlines() if line.startswith("epoch  40"))
    assert status == 0 and "accuracy 1 " in last


def test_check_compares_workers_with_none(train, tmp_path):
    status, output, _ = train("--check", "data_loader.args.num_workers=1")
    found = re.search(r"workers +(\S+) ms .* with 1, (\S+) with 0: (.*)", output)
    one, none = map(float, found.groups()[:2])
    expected = "1 are faster" if one < none else "0 are faster"
    assert status == 0 and found[3] in (expected, "no difference") and not any(tmp_path.iterdir())


def test_profile_gives_each_part_its_time_and_traces_it(train):
    backward, args = torch.Tensor.backward, ["trainer.accumulate_steps=2", "trainer.verbosity=0"]
    status, output, [run_dir] = train("--profile", "data_loader.args.batch_size=16", *args)
    rows = dict(re.findall(r"^(\S.*?)  +(\d+\.\d+) +\d", output, re.MULTILINE))
    total = float(rows.pop("all"))
    parts = {"data", "forward and loss", "backward", "optimizer", "metrics", "the loop itself"}
    assert status == 0 and set(rows) == parts and all(float(ms) > 0 for ms in rows.values())
    assert sum(map(float, rows.values())) == pytest.approx(total, abs=0.01)
    [trace] = run_dir.iterdir()
    assert str(trace) in output and torch.Tensor.backward is backward
    marks = Counter(
        one["name"]
        for one in json.loads(trace.read_text())["traceEvents"]
        if one.get("cat") == "user_annotation"
    )
    assert marks["backward"] == marks["forward and loss"] == marks["metrics"] == 10
    assert marks["optimizer"] == 5  # with 2 batches each
    assert marks["data"] == 10


def test_profile_cannot_see_into_other_loops(train, monkeypatch):
    monkeypatch.setattr("trainer.Trainer", type("Own", (Trainer,), {"_train_epoch": None}))
    status, output, runs = train("--profile")
    assert status == 2 and "a _train_epoch of your own" in output and not runs


@pytest.mark.parametrize("flag", ["--fast-dev-run", "--overfit-batches"])
def test_a_number_of_batches_is_one_or_more(train, flag):
    status, output, runs = train(flag, "0")
    assert status == 2 and "'0' is not a whole number, 1 or more" in output and not runs


def test_a_run_is_repeated_from_its_own_config(train):
    train("trainer.epochs=1", "trainer.len_epoch=3", "optimizer.args.lr=0.01")
    _, _, [first] = train("--help")
    status, _, runs = train("-c", str(first / "config.json"))
    assert status == 0 and len(runs) == 2
    tables = [(run / "metrics.csv").read_text() for run in runs]
    configs = [(run / "config.json").read_text() for run in runs]
    assert tables[0] == tables[1] and configs[0] == configs[1]


def test_every_start_is_recorded(train):
    train("trainer.epochs=1", "trainer.len_epoch=1")
    _, _, [run_dir] = train("--help")
    train("-r", str(run_dir / "checkpoint-epoch1.pth"), "trainer.epochs=2", "trainer.len_epoch=1")
    starts = read_json(run_dir / "environment.json")
    assert len(starts) == 2 and {"command", "python", "torch", "device"} < set(starts[0])
    assert starts[0]["device"] == "cpu"


def test_what_git_does_not_have_yet_is_kept(tmp_path, monkeypatch):
    def git(*args):
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", tmp_path, *who, *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init")
    (tmp_path / "code.py").write_text("old\n")
    git("add", "code.py")
    git("commit", "-m", "first")
    monkeypatch.setattr("tools.record.PROJECT_DIR", tmp_path)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    record_start(run_dir, "cpu")
    (tmp_path / "code.py").write_text("new\n")
    record_start(run_dir, "cpu")
    clean, dirty = json.loads((run_dir / "environment.json").read_text())
    assert clean["git_commit"] == dirty["git_commit"] == git("rev-parse", "HEAD").strip()
    assert "git_diff" not in clean and dirty["git_dirty"]
    assert "-old\n+new" in (run_dir / dirty["git_diff"]).read_text()


def test_tools_are_not_imported_by_the_core():
    beside = {"tools", "tests", "report.py", "runs.py", "predict.py", "export.py"}
    for path in PROJECT_DIR.rglob("*.py"):
        if path.relative_to(PROJECT_DIR).parts[0] not in beside:
            text = path.read_text(encoding="utf-8")
            assert "import tools" not in text and "from tools" not in text, path
