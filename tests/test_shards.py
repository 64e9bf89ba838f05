"""Shards of the digits, as docs/streams.md makes and reads them, by 2 processes x 2 workers."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from helpers import ENVIRONMENT, PROJECT, succeed

pytestmark = pytest.mark.slow

BLOCK = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
KINDS = {"TarDataLoader": ("webdataset", 0), "ParquetDataLoader": ("datasets", 2)}


@pytest.fixture(params=KINDS)
def project(request, bake, tmp_path):
    """A project whose loader reads shards, and the arguments of its training."""
    library, first = KINDS[request.param]
    pytest.importorskip(library)
    baked = bake(size="full")
    page = (PROJECT / "docs" / "streams.md").read_text(encoding="utf-8")
    loader, script = BLOCK.findall(page)[first : first + 2]
    file = baked / "data_loader" / "data_loaders.py"
    file.write_text(loader + "\n\n" + file.read_text(encoding="utf-8"), encoding="utf-8")
    before = f"import sys, os\nsys.path.insert(0, {str(baked)!r})\nimport numpy as np\n"
    before += "from utils.files import project_path\n"
    succeed("-c", before + script, cwd=tmp_path)
    args = json.dumps({"folder": str(tmp_path), "batch_size": 32, "num_workers": 2})
    changes = [f"data_loader.type={request.param}", f"data_loader.args={args}"]
    return baked, [*changes, "trainer.epochs=4", "trainer.save_every.steps=5"]


def end_of(save_dir):
    [path] = save_dir.glob("*/*/last.pth")
    return path, torch.load(path, map_location="cpu", weights_only=True)


def kill_all(pid):
    """A process and its children, which torchrun starts in sessions of their own."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(pid, signal.SIGKILL)
    for child in children:
        kill_all(int(child))


def train_until_a_save(command, folder, save_dir):
    """Start, and kill all processes as soon as there is another checkpoint than before."""
    before = {path.stat().st_mtime_ns for path in save_dir.glob("*/*/last.pth")}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, cwd=folder, env=ENVIRONMENT, **quiet)
    while process.poll() is None:
        if {path.stat().st_mtime_ns for path in save_dir.glob("*/*/last.pth")} - before:
            break
    kill_all(process.pid)
    process.wait()


def test_shards_are_trained_on_killed_and_resumed(project, tmp_path):
    folder, arguments = project
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    succeed(*TORCHRUN, "train.py", *arguments, f"trainer.save_dir={straight}", cwd=folder)
    again = [*TORCHRUN, "train.py", "-r", "auto", *arguments, f"trainer.save_dir={killed}"]
    for _ in range(2):
        train_until_a_save([sys.executable, *again], folder, killed)
    succeed(*again, cwd=folder)
    path, expected = end_of(straight)
    _, found = end_of(killed)
    assert found["step"] == expected["step"] and found["data_loader"]["samples"] == 4000
    for name, weight in expected["state_dict"].items():
        assert torch.equal(weight, found["state_dict"][name]), name
    output = succeed("test.py", "-r", path, cwd=folder)
    assert "1,000 test samples" in output
    assert float(re.search(r"^accuracy\s+(\S+)", output, re.MULTILINE)[1]) > 0.9
