"""A test that hangs ends, and says where."""

import os
import re

import pytest

from helpers import TORCHRUN, python, time_limit

HANGS = """
import os, signal, sys, threading
from pathlib import Path

number = int(os.environ.get("RANK", 0))
Path(f"{number}.started").touch()
if number == int(os.environ.get("WORLD_SIZE", 1)) - 1:
    while not Path("0.started").exists():
        pass
    os.kill(int(sys.argv[1]), signal.SIGALRM)  # the time is over
threading.Event().wait()
"""
PLACE = r'hangs.py", line \d+ in <module>'


@pytest.fixture
def project(tmp_path):
    (tmp_path / "hangs.py").write_text(HANGS)
    return tmp_path


@pytest.mark.parametrize("start", [(), ("-u",), pytest.param(TORCHRUN, marks=pytest.mark.slow)])
def test_processes_that_hang_are_ended_with_their_stacks(start, project):
    done = python(*start, "hangs.py", str(os.getpid()), cwd=project)
    assert done.returncode != 0
    assert len(re.findall(PLACE, done.stderr)) == (2 if start == TORCHRUN else 1), done.stderr


def test_a_test_that_waits_for_itself_ends():
    with pytest.raises(TimeoutError), time_limit(1, 1):
        while True:
            pass
