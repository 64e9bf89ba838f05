"""Killed at random moments, at least twenty times, a run ends bit for bit as one left in peace."""

import os
import random
import signal
from contextlib import suppress

import pytest

from helpers import FORKSERVER, run_script, succeed

pytestmark = pytest.mark.slow

KILLS = 24
ARGUMENTS = ["train.py", "-r", "auto", "trainer.epochs=2", "trainer.save_every.steps=3"]
ARGUMENTS += ["trainer.report=false"]
COMPARE = """
import sys
from tools.compare import first_difference
from utils import resume
ends = [resume.load(path) for path in sys.argv[1:]]
for end in ends:
    del end["config"]
print(first_difference(*ends))
"""


def run_dir(save_dir):
    [found] = save_dir.glob("*/*")
    return found


def kill_at_a_random_moment(project, arguments, save_dir, chance):
    """Start the training and kill it with SIGKILL; True unless it came to its end before.

    Half of the times it is killed while a file is being written, else some time after a save.
    """
    log, of_before = save_dir.with_name("log.txt"), {*save_dir.glob("*/*/.*.tmp")}
    process = FORKSERVER.Process(target=run_script, args=(project, arguments, log))
    process.start()
    in_a_save, saves_to_see = chance.random() < 0.5, chance.randint(1, 4)
    newest, seen = None, 0
    while process.is_alive():
        if in_a_save and seen and {*save_dir.glob("*/*/.*.tmp")} - of_before:
            break
        last = next(save_dir.glob("*/*/last.pth"), None)
        modified = last and last.stat().st_mtime_ns
        seen += modified != newest and newest is not None or (newest is None and last is not None)
        newest = modified
        if not in_a_save and seen > saves_to_see:
            for _ in range(chance.randint(0, 3000)):  # some way into the next steps
                pass
            break
    with suppress(ProcessLookupError):  # it has just come to its end
        os.killpg(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL), log.read_text()
    return process.exitcode != 0


@pytest.mark.parametrize(
    ("workers", "switches"),
    [
        (0, []),
        (2, ["trainer.ema=0.9", "trainer.accumulate_steps=2", "trainer.clip_grad_norm=1.0"]),
        (4, ["trainer.precision=fp16"]),
    ],
    ids=["as-it-is", "ema-accumulation-clipping", "fp16-with-scaler"],
)
def test_killed_and_resumed_is_bit_for_bit_the_same(bake, workers, switches, tmp_path):
    project = bake(size="full")
    arguments = [*ARGUMENTS, f"data_loader.args.num_workers={workers}", *switches]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    succeed(*arguments, f"trainer.save_dir={straight}", cwd=project)

    chance = random.Random(workers)
    arguments.append(f"trainer.save_dir={killed}")
    kills = 0
    while kills < KILLS // 3 and kill_at_a_random_moment(project, arguments, killed, chance):
        kills += 1
    succeed(*arguments, cwd=project)

    ends = [run_dir(one) / "last.pth" for one in (straight, killed)]
    assert succeed("-c", COMPARE, *ends, cwd=project) == "None\n"
    tables = [(run_dir(one) / "metrics.csv").read_text() for one in (straight, killed)]
    assert tables[0] == tables[1]
    assert kills == KILLS // 3
