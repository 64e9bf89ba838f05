"""The commands as a user runs them, on the project's own config, model and data."""

import json
import os
import re
import subprocess
import sys
from importlib import import_module

import pytest

from helpers import python
from parse_config import default_config
from utils.files import PROJECT_DIR

SHORT = ["trainer.epochs=1", "trainer.len_epoch=2"]
SHORT += ["trainer.tensorboard=false", "trainer.report=false"]
TELL_IMPORTS = os.environ | {"PYTHONPROFILEIMPORTTIME": "1"}


def run(script, *args, cwd=PROJECT_DIR, env=None):
    if env is None:
        return python("-W", "error", PROJECT_DIR / script, *args, cwd=cwd)
    command = [sys.executable, "-W", "error", PROJECT_DIR / script, *args]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)


def succeed(*args, **kwargs):
    done = run(*args, **kwargs)
    assert done.returncode == 0, done.stderr
    return done.stdout


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_train_resume_and_test_from_any_directory(tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    save_dir = f"trainer.save_dir={tmp_path / 'saved'}"
    tables = []
    for cwd in (PROJECT_DIR, elsewhere):
        succeed("train.py", "-c", default_config().name, save_dir, *SHORT, cwd=cwd)
        [run_dir] = (tmp_path / "saved").glob("*/*")
        succeed("train.py", "-r", run_dir / "checkpoint-epoch1.pth", "trainer.epochs=2", cwd=cwd)
        before = files(tmp_path)
        env = TELL_IMPORTS if cwd == elsewhere else None
        done = run("test.py", "-r", run_dir / "model_best.pth", cwd=cwd, env=env)
        assert done.returncode == 0 and files(tmp_path) == before
        if env:  # then torch is imported; without torch._dynamo, which takes a second
            assert " torch\n" in done.stderr and "torch._dynamo" not in done.stderr
        tables.append(re.findall(r"^(\w+) +(-?[\d.]+)$", done.stdout, re.MULTILINE))
        run_dir.rename(tmp_path / f"run{len(tables)}")
    assert tables[0] == tables[1] and tables[0] and not any(elsewhere.iterdir())
    record = json.loads((tmp_path / "run1" / "config.json").read_text())
    assert record["trainer"]["epochs"] == 2 and record["trainer"]["len_epoch"] == 2


@pytest.mark.parametrize(
    ("script", "args", "expected"),
    [
        ("train.py", ["trainer.epochz=1"], "command line: trainer.epochz: unknown key; did you"),
        ("train.py", ["-c", "none.json"], "none.json: cannot be read: No such file or directory"),
        ("train.py", ["-r", "none.pth"], "none.pth: cannot be read: No such file or directory"),
        ("train.py", ["-d", "cuda:99"], "device 'cuda:99' is not there; this machine has: "),
        ("train.py", ["data_loader.args.validation_split=99999"], "validation_split = 99999: must"),
        ("train.py", ["trainer.save_dir=README.md"], "trainer.save_dir: cannot make a run in"),
        ("train.py", ["-r", "README.md"], "README.md: damaged, or not a checkpoint of torch"),
        ("train.py", ["trainer.x.type=1"], "command line: trainer.x: unknown key"),
        ("test.py", [], "command line: -r CHECKPOINT is missing"),
        ("train.py", ["--lrr", "1"], "command line: unrecognized arguments: --lrr"),
        ("train.py", ["--lr", "a"], "command line: argument --lr/--learning-rate: invalid float"),
        ("runs.py", ["--sort"], "command line: argument --sort: expected one argument"),
        ("train.py", ["data_loader.args.batch_size=0"], "batch_size = 0: must be a whole"),
        ("predict.py", [], "command line: the following arguments are required: -r/--resume"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(script, args, expected, tmp_path, capsys):
    save_dir = tmp_path / "saved"
    with pytest.raises(SystemExit, match="2"):
        import_module(script.removesuffix(".py")).main([f"trainer.save_dir={save_dir}", *args])
    err = capsys.readouterr().err
    assert expected in err and len(err.splitlines()) == 1 and not save_dir.exists()


def test_no_traceback_where_it_is_typed(tmp_path):
    done = run("train.py", "-c", "none.json", cwd=tmp_path)
    assert done.returncode == 2 and not done.stdout
    assert done.stderr == "none.json: cannot be read: No such file or directory\n"


def test_help_does_not_import_torch(tmp_path):
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    done = run("train.py", "--help", env={"PYTHONPATH": str(tmp_path)})
    assert done.returncode == 0 and "--lr" in done.stdout and "KEY=VALUE" in done.stdout


@pytest.mark.parametrize(
    ("flag", "expected"),
    [
        (["--check"], "All is well."),
        (["--fast-dev-run", "2"], "epoch   1"),
        (["--overfit-batches", "1", "trainer.epochs=2"], "epoch   2"),
        (["--verify-resume"], "end bit for bit the same"),
    ],
    ids=str,
)
def test_the_tools_take_this_projects_parts(flag, expected, tmp_path, capsys):
    save_dir = f"trainer.save_dir={tmp_path / 'saved'}"
    import_module("train").main(["-d", "cpu", save_dir, "trainer.tensorboard=false", *flag])
    assert expected in capsys.readouterr().out
