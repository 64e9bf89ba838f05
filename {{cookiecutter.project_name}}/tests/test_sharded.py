"""Checkpoints that are folders: whenever a process is killed, one of them can be loaded."""

import os
import subprocess
import sys

import pytest

from utils.files import PROJECT_DIR

KILLING = """
import os, sys
from pathlib import Path
import torch
import torch.distributed.checkpoint as dcp
from tools import restart, sharded
from utils import checkpoint

def write(folder, step):
    parts = {"state_dict": {"weight": torch.full((3,), float(step))}, "optimizer": {"lr": step}}
    dcp.save(parts, checkpoint_id=folder, no_dist=True)
    checkpoint.save({"step": step}, folder / sharded.PLAIN_NAME)

def by_a_folder(path, step):
    new = path.with_name(".last.pth.tmp")
    if not new.exists():
        write(new, step)
    return lambda: sharded.replace(new, path)

def by_a_file(path, step):
    state = {"state_dict": {"weight": torch.full((3,), float(step))}, "step": step}
    return lambda: checkpoint.save(state, path)

def is_killed(make, n):
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
    for place, name in [(Path, "rename"), (os, "replace"), (os, "unlink"), (os, "rmdir")]:
        setattr(place, name, counted(getattr(place, name)))
    make()
    os._exit(0)

def check(path, steps):
    for one in (path, restart.newest(path.parent)[0]):
        state = checkpoint.load(one)
        assert state["step"] in steps, (one, state["step"], steps)
        assert state["state_dict"]["weight"].tolist() == [state["step"]] * 3

kind, folder = sys.argv[1:]
prepare = {"folder": by_a_folder, "file": by_a_file}[kind]
n, was_killed = 0, True
while was_killed:
    path = Path(folder, str(n), "last.pth")
    write(path, 1)
    was_killed = is_killed(prepare(path, 2), n)
    check(path, {1, 2} if was_killed else {2})
    for half_written in path.parent.glob(".*.tmp"):  # as a run does when it begins
        checkpoint.remove(half_written)
    is_killed(prepare(path, 3), n)  # once more, in what the first has left
    check(path, {1, 2, 3} if was_killed else {3})
    n += 1
assert [one.name for one in path.parent.iterdir()] == ["last.pth"]
print(n)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_kill_leaves_the_old_checkpoint_or_the_new_one(tmp_path, kind):
    """In place of a sharded one; a file is what a run gets that goes on with one process."""
    env = {**os.environ, "PYTHONPATH": str(PROJECT_DIR)}
    command = [sys.executable, "-c", KILLING, kind, tmp_path]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 4  # moments to be killed at
