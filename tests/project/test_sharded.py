"""Checkpoints that are folders: whenever a process is killed, one of them can be loaded."""

import pytest

from helpers import ENVIRONMENT, python
from utils import UserError
from utils.files import PROJECT_DIR

KILLING = """
import os, sys
from concurrent.futures import Future
from pathlib import Path
import torch
import torch.distributed.checkpoint as dcp
from tools import fsdp
from utils import checkpoint, resume
from utils.resume import newest_intact
from utils.run_dir import mark_start
from utils.run_dir import BEST_NAME, LAST_NAME, MARK_NAME

def write(run_dir, step):
    "What a save has done when all parts are written; what it then does."
    folder = run_dir / fsdp.begin_folder(run_dir, {"step": step})
    parts = {"state_dict": {"weight": torch.full((3,), float(step))}, "optimizer": {"lr": step}}
    dcp.save(parts, checkpoint_id=folder, no_dist=True)
    written = Future()
    written.set_result(None)
    paths = run_dir / LAST_NAME, run_dir / BEST_NAME
    return lambda: fsdp.finish(written, folder, paths, lambda: None)

def a_folder(run_dir, step):
    return write(run_dir, step)

def a_file(run_dir, step):
    state = {"state_dict": {"weight": torch.full((3,), float(step))}, "step": step}
    def save():
        checkpoint.save(state, run_dir / LAST_NAME, run_dir / BEST_NAME)
        fsdp.remove_unnamed(run_dir)
    return save

def a_copy(run_dir, step):
    for name in LAST_NAME, BEST_NAME:  # their links followed
        if (path := run_dir / name).is_symlink() and (folder := path.resolve()).exists():
            path.unlink()
            fsdp.shutil.copytree(folder, path)
    save = write(run_dir, step)
    def go_on():
        fsdp.restore_links(run_dir)
        save()
    return go_on

def is_killed(change, n):
    "Whether a process that does it is killed, right before its n-th change of the folder."
    if child := os.fork():
        return os.waitpid(child, 0)[1] == 9
    changes = iter(range(n))
    def counted(real):
        def change(*args, **kwargs):
            if next(changes, None) is None:
                os.kill(os.getpid(), 9)
            return real(*args, **kwargs)
        return change
    for place, names in [(Path, "rename symlink_to"), (os, "replace unlink rmdir")]:
        for name in names.split():
            setattr(place, name, counted(getattr(place, name)))
    change()
    os._exit(0)

def check(run_dir, steps):
    newest = newest_intact(run_dir)
    assert newest is not None, [*run_dir.iterdir()]
    state = fsdp.load_whole(newest) if newest.is_dir() else resume.load(newest)
    assert state["step"] in steps, (newest, state["step"], steps)
    assert state["state_dict"]["weight"].tolist() == [state["step"]] * 3

kind, folder = sys.argv[1:]
begin = globals()[kind]
n, was_killed = 0, True
while was_killed:
    run_dir = Path(folder, str(n))
    run_dir.mkdir()
    (run_dir / MARK_NAME).touch()
    write(run_dir, 1)()
    was_killed = is_killed(begin(run_dir, 2), n)
    check(run_dir, {1, 2} if was_killed else {2})
    mark_start(run_dir)  # as a run does when it begins
    is_killed(begin(run_dir, 3), 99)  # once more, in what the first has left
    check(run_dir, {3})
    left = sorted(path.name for path in run_dir.iterdir())
    folders = [".step3_1.dcp"] * (kind != "a_file")
    assert left == [MARK_NAME, *folders, LAST_NAME, BEST_NAME], (n, left)
    n += 1
print(n)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["a_folder", "a_file", "a_copy"])
def test_a_kill_leaves_the_old_checkpoint_or_the_new_one(tmp_path, kind):
    """In place of a sharded one; a file is what a run gets that goes on without FSDP."""
    done = python("-c", KILLING, kind, tmp_path, env=ENVIRONMENT | {"PYTHONPATH": str(PROJECT_DIR)})
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 4  # moments to be killed at


def test_a_moving_average_does_not_go_with_it(make_trainer, tmp_path):
    with pytest.raises(UserError, match="^trainer.ema: not with parallel.type fsdp$"):
        make_trainer({"parallel.type": "fsdp", "trainer.ema": 0.9})
    assert not any(tmp_path.iterdir())


def test_parts_of_a_class_that_the_model_has_not(make_trainer):
    line = "^parallel.recompute: the model has no Conv3d, but Conv2d, DigitsModel, Dropout, Linear$"
    with pytest.raises(UserError, match=line):
        make_trainer({"parallel.recompute": ["Linear", "Conv3d"]})
