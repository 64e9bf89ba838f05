"""The kinds take turns: each waits at the start of an epoch until speed.py tells it to go on."""

import json
import os
import sys
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

FIRST_STEP = "FIRST_STEP" in os.environ  # that is all to be measured
_answers = None
_since = None


def take_stdout():
    """Keep standard output for the answers: whatever else is printed goes nowhere."""
    global _answers
    _answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def turn(*_, **more):
    """To be called at the start of each epoch: tells what the one before has taken, and waits.

    `more` are functions whose results are told as well.
    """
    global _since
    if _since is not None:
        wall, cpu = perf_counter() - _since[0], process_time() - _since[1]
        results = {name: function() for name, function in more.items()}
        _answer(wall=wall, cpu=cpu, memory=resident_bytes(), **results)
    elif not FIRST_STEP:
        _answer()  # ready
    if not FIRST_STEP and not sys.stdin.readline():
        os._exit(0)  # without what a framework does at its end
    _since = perf_counter(), process_time()


def watch(optimizer):
    """Where only the first step is to be measured, end after it."""
    if FIRST_STEP:
        optimizer.register_step_post_hook(_leave)
    return optimizer


def _leave(*_):
    _answer(cpu=process_time())
    os._exit(0)


def _answer(**values):
    print(json.dumps(values), file=_answers, flush=True)


def resident_bytes():
    path = Path("/proc/self/statm")  # Linux
    if not path.exists():
        return 0
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@contextmanager
def temporary_folder():
    """For what frameworks write: the current folder while it lasts."""
    with TemporaryDirectory() as folder:
        os.environ["BENCHMARK_FOLDER"] = folder
        yield
