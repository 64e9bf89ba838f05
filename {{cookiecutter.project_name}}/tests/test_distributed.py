"""What several processes share, seen from one: their parts of the data, and what is summed up."""

import os
import subprocess
import sys
from itertools import islice

import pytest

from base import BaseDataLoader
from base.sampler import EpochBatchSampler, EpochSampler
from tools.advice import advice
from tools.restart import find_newest
from utils.files import PROJECT_DIR
from utils.loop import Place, Stream


def parts(n, batch_size, size, drop_last=False, is_fixed=False, skip=0):
    """For each of `size` processes, the batches of one epoch over n samples."""
    found = []
    for rank in range(size):
        sampler = EpochBatchSampler(
            EpochSampler(range(n), shuffle=not is_fixed), batch_size, drop_last, is_fixed
        )
        sampler.rank, sampler.size = rank, size
        sampler.set_epoch(seed=1, epoch=2, skip=skip)
        found.append([batch[:] for batch in sampler])
    return found


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [24, 25, 26, 27, 31, 95])
@pytest.mark.parametrize("is_fixed", [False, True])
def test_each_sample_comes_once(n, size, is_fixed):
    ranks = parts(n, 6, size, is_fixed=is_fixed)
    assert sorted(index for batches in ranks for batch in batches for index in batch) == [*range(n)]
    if not is_fixed:
        assert len({len(batches) for batches in ranks}) == 1


@pytest.mark.parametrize("size", [2, 3, 4])
def test_a_batch_of_all_is_that_of_one_process(size):
    """So that N processes with a batch size of B train as one with N times B."""
    [whole] = parts(24 * size, 6 * size, 1)
    ranks = parts(24 * size, 6, size)
    assert [sum(step, []) for step in zip(*ranks, strict=True)] == whole


@pytest.mark.parametrize("size", [2, 3, 4])
def test_drop_last_leaves_only_full_batches(size):
    for batches in parts(95, 6, size, drop_last=True):
        assert [len(batch) for batch in batches] == [6] * (95 // (6 * size))


@pytest.mark.parametrize("before", [1, 2, 4])
@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_another_number_of_processes_goes_on_with_the_samples_that_are_left(before, after):
    steps = 2
    done = [i for batches in parts(96, 6, before) for batch in batches[:steps] for i in batch]
    skip = steps * 6 * before
    rest = [i for batches in parts(96, 6, after, skip=skip) for batch in batches for i in batch]
    assert sorted(done + rest) == [*range(96)]


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [24, 25, 26, 27, 31, 95])
@pytest.mark.parametrize("skip", [0, 7])
def test_what_is_done_is_counted_by_samples(n, size, skip):
    """To the last batch, which is larger or smaller than the others."""
    loader = BaseDataLoader(range(n), 6, True, 0, 0)
    loader.batch_sampler.size = size
    ranks = parts(n, 6, size, skip=skip)
    stream = Stream(seed=0)
    stream.begin(Place(3, skip))
    batches = stream.rest_of_pass(loader)
    for done in range(len(ranks[0]) + 1):
        samples = sum(len(batch) for batches in ranks for batch in batches[:done])
        assert stream.place == (3, skip + samples)
        assert stream.samples == samples
        assert (next(batches, None) is None) == (done == len(ranks[0]))


@pytest.mark.parametrize("start", [(0, 2560), (0, 49664), (2, 0)])
def test_of_what_is_dropped_no_sample_is_counted(start):
    loader = BaseDataLoader(range(50_000), 128, True, 0, 0, drop_last=True)
    loader.batch_sampler.size = 3
    stream = Stream(seed=0)
    stream.begin(Place(*start))
    for n, _ in enumerate(islice(stream.endless(loader), 393), start=1):
        assert stream.samples == n * 3 * 128


def test_fewer_samples_than_processes():
    """There is no training then; in validation some processes have none."""
    assert parts(3, 6, 4) == [[], [], [], []]
    assert sum(parts(3, 6, 4, is_fixed=True), []) == [[0], [1], [2]]


class Seen:
    """Collects; knows how to take in what another process has collected."""

    def __init__(self):
        self.reset()

    def reset(self):
        self.values = []

    def update(self, output, target):
        self.values += output.tolist()

    def compute(self):
        return sum(self.values) / len(self.values)

    def merge(self, state):
        self.values += state["values"]


WORKER = """
import sys, torch, weakref
import torch.distributed as dist
from pathlib import Path
from test_distributed import Seen
from utils import checkpoint, distributed
from utils.meter import MetricTracker
with distributed.process_group():
    group = weakref.ref(dist.group.WORLD)
    model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 2))
    model.in_a_cycle = model
    model(torch.ones(1, 2)).sum().backward()
    del model
    rank = distributed.rank()
    tracker = MetricTracker(metrics=[Seen()])
    if rank == 0:  # the other has no sample
        output = torch.tensor([1.0, 2.0, 6.0])
        tracker.add(tracker.measure(output, output) | {"mean": output.mean()}, 3)
    assert tracker.result() == {"mean": 3.0, "Seen": 3.0}
    assert distributed.agree(lambda: f"of {rank}") == "of 0"
    assert distributed.gather(rank) == [0, 1]
    votes = distributed.Votes()
    assert votes.cast(0, rank, wait=True) == (0, 1)
    votes = distributed.Votes()
    assert votes.cast(rank) == votes.cast(0) == (1,)  # the second time, what was cast before
    path = Path(sys.argv[1])
    if rank == 0:
        checkpoint.save({"state_dict": {"weight": torch.arange(3)}}, path)
    distributed.gather(rank)  # both are here
    weight = checkpoint.load(path)["state_dict"]["weight"]
    assert weight.tolist() == [0, 1, 2]
    if (maps := Path("/proc/self/maps")).exists():  # all processes use the same memory for it
        assert str(path) in maps.read_text()
assert group() is None  # its threads, which need Python, would abort it on its way out
"""


def test_two_processes_know_what_each_has(tmp_path):
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    path = os.pathsep.join([str(PROJECT_DIR), str(PROJECT_DIR / "tests")])
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command += [script, tmp_path / "weight.pth"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_n_gpu_of_old_configs_gets_a_line(make_config):
    [line] = advice(make_config({"n_gpu": 4}).settings, data_loader=None)
    assert "torchrun --nproc-per-node=4 train.py" in line


def test_a_restart_goes_on_with_its_own_run(make_config, make_trainer, monkeypatch):
    """Not with a newer one of the same name, which has nothing to do with it."""
    monkeypatch.setenv("WORLD_SIZE", "1")
    for run, launch in (("own", "abc"), ("newer", "xyz")):
        monkeypatch.setenv("TORCHELASTIC_RUN_ID", launch)
        trainer = make_trainer({"trainer.epochs": 1, "trainer.len_epoch": 1}, run_id=run)
        trainer.train()
    newest = trainer.checkpoint_dir / "last.pth"
    assert find_newest(make_config()) == newest
    own = newest.parent.with_name("own") / "last.pth"
    assert find_newest(make_config(), "abc") == own
    assert find_newest(make_config(resume=own), "no run yet") == own
    assert find_newest(make_config(), "no run yet") is None
