"""The commands as a user runs them, in processes of their own."""

import json
import re
import subprocess
import sys
from importlib import import_module

import pytest

from parse_config import default_config
from utils.files import PROJECT_DIR

SHORT = ["trainer.epochs=1", "trainer.len_epoch=2"]
SHORT += ["trainer.tensorboard=false", "trainer.report=false"]


def run(script, *args, cwd=PROJECT_DIR, env=None):
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
        table = succeed("test.py", "-r", run_dir / "model_best.pth", cwd=cwd)
        assert files(tmp_path) == before
        tables.append(re.findall(r"^(\w+) +([\d.]+)$", table, re.MULTILINE))
        run_dir.rename(tmp_path / f"run{len(tables)}")
    assert [name for name, _ in tables[0]] == ["loss", "accuracy", "top_k_acc"]
    assert tables[0] == tables[1] and not any(elsewhere.iterdir())
    record = json.loads((tmp_path / "run1" / "config.json").read_text())
    assert record["trainer"]["epochs"] == 2 and record["trainer"]["len_epoch"] == 2


@pytest.mark.parametrize(
    ("script", "args", "expected"),
    [
        ("train.py", ["trainer.epochz=1"], "command line: trainer.epochz: unknown key; did you"),
        ("train.py", ["-c", "none.json"], "none.json: cannot be read: No such file or directory"),
        ("train.py", ["-r", "none.pth"], "none.pth: cannot be read: No such file or directory"),
        ("train.py", ["-d", "cuda:99"], "device 'cuda:99' is not there; this machine has: "),
        ("train.py", ["data_loader.args.data_dir=none"], "mnist_5k.npz is missing"),
        ("train.py", ["data_loader.args.validation_split=4000"], "validation_split = 4000: must"),
        ("train.py", ["trainer.save_dir=README.md"], "trainer.save_dir: cannot make a run in"),
        ("train.py", ["-r", "README.md"], "README.md: not a checkpoint, or a damaged one"),
        ("train.py", ["optimizer.x.type=Adam"], "command line: optimizer.x: unknown key"),
        ("test.py", [], "command line: -r CHECKPOINT is missing"),
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


@pytest.mark.parametrize("page", sorted((PROJECT_DIR / "docs").glob("*.md")), ids=lambda p: p.stem)
def test_the_snippets_of_the_docs_run(page, tmp_path):
    """All of a page in one process, with the shortest training and with tmp_path for its runs."""
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    code = "\n".join(blocks).replace("/path/to/project", str(PROJECT_DIR))
    changes = {"trainer.save_dir": str(tmp_path / "saved"), "trainer.len_epoch": 2}
    code = code.replace('{"trainer.epochs": 1', f'{str(changes)[:-1]}, "trainer.epochs": 1')
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": "" if "sys.path" in code else str(PROJECT_DIR)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
