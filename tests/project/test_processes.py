"""What several processes share, seen from one: their parts of the data, and what is summed up."""

from itertools import islice

import pytest
import torch

from base import BaseDataLoader
from base.sampler import EpochBatchSampler, EpochSampler
from tools.advice import advice
from utils import distributed, inf_loop
from utils.device import get_device
from utils.errors import UserError


def parts(n, batch_size, world_size, drop_last=False, is_fixed=False, samples=0):
    """For each of `world_size` processes, the batches of one epoch over n samples."""
    found = []
    for rank in range(world_size):
        sampler = EpochBatchSampler(
            EpochSampler(range(n), shuffle=not is_fixed), batch_size, drop_last, is_fixed
        )
        sampler.rank, sampler.world_size = rank, world_size
        sampler.set_epoch(seed=1, epoch=2, samples=samples)
        found.append([batch[:] for batch in sampler])
    return found


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [24, 25, 26, 27, 31, 95])
@pytest.mark.parametrize("is_fixed", [False, True])
def test_each_sample_comes_once(n, world_size, is_fixed):
    ranks = parts(n, 6, world_size, is_fixed=is_fixed)
    assert sorted(index for batches in ranks for batch in batches for index in batch) == [*range(n)]
    if not is_fixed:
        assert len({len(batches) for batches in ranks}) == 1


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_a_batch_of_all_is_that_of_one_process(world_size):
    """So that N processes with a batch size of B train as one with N times B."""
    [whole] = parts(24 * world_size, 6 * world_size, 1)
    ranks = parts(24 * world_size, 6, world_size)
    assert [sum(step, []) for step in zip(*ranks, strict=True)] == whole


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_drop_last_leaves_only_full_batches(world_size):
    for batches in parts(95, 6, world_size, drop_last=True):
        assert [len(batch) for batch in batches] == [6] * (95 // (6 * world_size))


@pytest.mark.parametrize("before", [1, 2, 4])
@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_another_number_of_processes_goes_on_with_the_samples_that_are_left(before, after):
    steps = 2
    done = [i for batches in parts(96, 6, before) for batch in batches[:steps] for i in batch]
    ranks = parts(96, 6, after, samples=steps * 6 * before)
    rest = [i for batches in ranks for batch in batches for i in batch]
    assert sorted(done + rest) == [*range(96)]


@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [24, 25, 26, 27, 31, 95])
@pytest.mark.parametrize("before", [0, 7])
@pytest.mark.parametrize("rank", [0, -1])
def test_what_is_done_is_counted_by_samples(n, world_size, before, rank):
    """To the last batch, which is larger or smaller than the others."""
    loader = BaseDataLoader(range(n), 6, True, 0, 0)
    ranks = parts(n, 6, world_size, samples=before)
    sampler = loader.batch_sampler
    sampler.rank, sampler.world_size = rank % world_size, world_size
    state = {"seed": 1, "epoch": 2, "samples": before, "order": "randperm", "of": [n, 0]}
    loader.load_state_dict(state)
    batches, samples = iter(loader), before
    assert loader.state_dict() == state
    for step in zip(*ranks, strict=True):
        assert next(batches).tolist() == step[rank]
        assert loader.n_samples_in_batch == len(step[rank])
        assert loader.n_samples_mean * world_size == sum(map(len, step))
        samples += sum(map(len, step))
        assert loader.state_dict() == state | {"samples": samples}
    assert next(batches, None) is None and samples == n


@pytest.mark.parametrize("start", [(0, 2560), (0, 49664), (2, 0)])
def test_of_what_is_dropped_no_sample_is_counted(start):
    loader = BaseDataLoader(range(50_000), 128, True, 0, 0, drop_last=True)
    loader.batch_sampler.world_size = 3
    epoch, samples = start
    loader.load_state_dict(loader.state_dict() | {"epoch": epoch, "samples": samples})
    for _ in islice(inf_loop(loader), 393):
        epoch, samples = (epoch, samples) if samples <= 50_000 - 384 else (epoch + 1, 0)
        samples += 3 * 128
        assert (loader.n_samples_in_batch, loader.n_samples_mean) == (128, 128)
        state = loader.state_dict()
        assert (state["seed"], state["epoch"], state["samples"]) == (0, epoch, samples)


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
from importlib.util import find_spec
import torch.distributed as dist
from base import BaseDataLoader
from pathlib import Path
from test_processes import Seen
from tools.save_minutes import LatestMax
from torch.utils.data import WeightedRandomSampler
from utils import checkpoint, distributed, resume
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
        tracker.collectors[0].update(output, output)
        tracker.add({"mean": output.mean()}, 3)
    assert tracker.result() == {"mean": 3.0, "Seen": 3.0}
    if find_spec("torchmetrics"):
        import torchmetrics as tm
        kind = {"task": "multiclass", "num_classes": 3}
        members = [tm.Precision(**kind), tm.Recall(**kind), tm.AUROC(**kind)]
        tracker = MetricTracker(metrics=[tm.MetricCollection(members)])
        tracker.collectors[0].update(torch.eye(3)[[rank] * 3], torch.tensor([0, 1, 1]))
        assert tracker.result()["MetricCollection_MulticlassPrecision"] == 0.5
    of = f"of {rank}"
    assert distributed.on_main(lambda: of) == distributed.broadcast(of) == "of 0"
    assert distributed.all_gather(rank) == [0, 1] and distributed.all_reduce(rank) == 1
    assert distributed.all_reduce(rank, "MAX") == 1
    latest_max = LatestMax()
    assert latest_max(rank) == 1 and latest_max(rank) == 0
    sampler = WeightedRandomSampler(torch.arange(1.0, 21), 30)
    loader = BaseDataLoader(range(20), 4, True, 0, 0, sampler=sampler)
    loader.set_epoch(seed=1, epoch=2)
    torch.rand(rank)  # each process has drawn other numbers
    ranks = distributed.all_gather([batch.tolist() for batch in loader])
    assert len({sampler.num_samples, len(sum(ranks[0] + ranks[1], []))}) == 1
    order = loader.batch_sampler.order(seed=1, epoch=2)
    assert [i for step in zip(*ranks) for batch in step for i in batch] == order
    path = Path(sys.argv[1])
    if rank == 0:
        checkpoint.save({"state_dict": {"weight": torch.arange(3)}}, path)
    distributed.all_gather(rank)  # both are here
    weight = resume.load(path)["state_dict"]["weight"]
    assert weight.tolist() == [0, 1, 2]
    if (maps := Path("/proc/self/maps")).exists():  # all processes use the same memory for it
        assert str(path) in maps.read_text()
assert group() is None  # its threads, which need Python, would abort it on its way out
"""


def test_two_processes_know_what_each_has(in_two_processes, tmp_path):
    in_two_processes(WORKER, tmp_path / "weight.pth")


def test_n_gpu_of_old_configs_gets_a_line(make_config):
    [line] = advice(make_config({"n_gpu": 4}).settings, data_loader=None)
    assert "torchrun --nproc-per-node=4 train.py" in line


@pytest.mark.parametrize("name", ["WORLD_SIZE", "SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE"])
def test_processes_that_train_by_themselves_are_told_so(monkeypatch, make_config, name):
    """As srun and mpirun start them, which torch.distributed knows nothing of."""
    settings = make_config().settings
    monkeypatch.setenv(name, "4")
    reason = "but this process trains by itself: start several with torchrun"
    assert [*advice(settings, None)] == [f"{name} is 4, {reason}"]
    monkeypatch.setenv("WORLD_SIZE", "1")
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "torchrun, inside of srun")
    assert [*advice(settings, None)] == []


@pytest.mark.parametrize("n", [24, 25, 26, 27, 28])
def test_no_process_learns_from_a_single_sample(n):
    """Which batch norm cannot: up to three samples are no batch of two processes."""
    for batches in parts(n, 6, 2):
        assert min(map(len, batches)) >= 2 and len(batches) == (3 if n == 28 else 2)


@pytest.mark.parametrize("rank", ["0", "1"])
def test_beside_gpus_there_is_a_backend_for_cpus(rank, monkeypatch):
    """And more processes than GPUs are refused by a line, by all before one waits for another."""
    begun = []
    torchrun = {"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    for name, value in (torchrun | {"RANK": rank, "LOCAL_RANK": rank}).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    for name in ("barrier", "destroy_process_group"):
        monkeypatch.setattr(torch.distributed, name, lambda: None)
    monkeypatch.setattr(torch.distributed, "is_nccl_available", lambda: True)
    monkeypatch.setattr(torch.distributed, "init_process_group", begun.append)
    with distributed.process_group():
        assert begun == ["cpu:gloo,cuda:nccl"]
        with pytest.raises(UserError, match="--nproc-per-node is more than this machine"):
            get_device("cuda")
