"""What training with several processes costs: time, memory and communication, with gloo on a CPU.

python benchmarks/distributed.py           two processes, 120 epochs
python benchmarks/distributed.py 4 60      four processes, 60 epochs
python benchmarks/distributed.py 2 1 DDP   one epoch, and the memory of DDP alone

Step: the project's example, as its config has it but without shifts of the images, against a bare
loop around DistributedDataParallel with the same model, data, fused optimizer, loss and metrics,
their sums kept as tensors. Both train in the same processes and take turns of ten steps, so that
what else happens on the machine meets both alike; a ratio is that of an epoch of 150 steps, with
all that is done at its end. Two epochs are dropped, but not of one. Where things come to lie in
memory makes a process some percent faster or slower, so they are started twelve times, a part of
the epochs each.
Target: 1.02 times.

Memory and communication: 67 MB of weights in eight blocks, trained with Adam by DDP, by FSDP as a
whole, and by FSDP block by block, in processes of their own. Weights, gradients and Adam's state
are the bytes that one process holds, against the formulas of docs/many_gpus.md; so is what went
over the loopback device in a step (Linux only, with all that other programs sent). gloo does a
reduce-scatter as an all-reduce, which sends twice as much. Resident is what the process has grown
by since before the model was made, after two epochs, and at most.

Every process has one thread. Other programs on the same cores distort the times.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter, process_time

import torch
import torch.distributed as dist
from torch import nn

from speed import MEMORY

PROJECT = Path(__file__).parent.parent / "{{cookiecutter.project_name}}"
sys.path.insert(0, str(PROJECT))
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
STEPS, TURN, DROPPED, BATCH, LAUNCHES = 150, 10, 2, 64, 12
WIDTH, BLOCKS = 1448, 8
KINDS = {
    "DDP": {},
    "FSDP as a whole": {"parallel.type": "fsdp"},
    "FSDP by blocks": {"parallel.type": "fsdp", "parallel.blocks": ["Block"]},
}


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        return x + self.linear(x).relu()


class Deep(nn.Module):
    """The digits, spread over the width by a fixed matrix, through blocks of equal size."""

    def __init__(self):
        super().__init__()
        self.register_buffer("spread", torch.randn(784, WIDTH) / 28, persistent=False)
        self.blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))

    def forward(self, x):
        return self.blocks(x.flatten(1) @ self.spread)[:, :10].clone()


def make_trainer(folder, changes):
    from parse_config import ConfigParser
    from train import build_trainer
    from utils import distributed

    changes = {"device": "cpu", "data_loader.args.augment": False, **changes}
    config = ConfigParser.from_file(
        PROJECT / "config.json", {"trainer.save_dir": folder, **changes}
    )
    trainer = build_trainer(config)
    trainer.config.start_run()
    trainer.model = distributed.wrap(trainer)
    for callback in trainer.callbacks:  # as `train` does: FSDP looks at its own parts
        callback.on_setup(trainer)
    trainer.do_validation, trainer.lr_scheduler = False, None
    trainer.len_epoch, trainer.epoch_is_pass = STEPS, False
    return trainer


def take_ours(trainer):
    trainer.epoch += 1
    trainer._train_epoch(trainer.epoch)


def bare_loop(trainer, n):
    """A function that takes a turn as somebody would write it by hand."""
    import copy

    from model.metric import accuracy, top_k_acc
    from utils import distributed

    dataset = trainer.data_loader.dataset
    inner = copy.deepcopy(distributed.unwrap(trainer.model))
    model = nn.parallel.DistributedDataParallel(inner)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.002, fused=True)
    images = dataset.images[trainer.data_loader.sampler.indices]
    labels = dataset.labels[trainer.data_loader.sampler.indices]

    def batches():
        generator = torch.Generator().manual_seed(0)
        while True:
            order = torch.randperm(len(labels), generator=generator)[dist.get_rank() :: n]
            yield from order.split(BATCH)

    endless, sums = batches(), torch.zeros(3)

    def take(is_last):
        model.train()
        for _ in range(TURN):
            indices = next(endless)
            data = images[indices].unsqueeze(1).float().div_(255).sub_(0.1307).div_(0.3081)
            target = labels[indices]
            optimizer.zero_grad()
            output = model(data)
            loss = nn.functional.cross_entropy(output, target)
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                values = (loss.detach(), accuracy(output, target), top_k_acc(output, target))
                for index, value in enumerate(values):
                    sums[index] += value * len(target)
        if is_last:
            dist.all_reduce(sums)
            sums.zero_()

    return take


class Clock:
    """Seconds by the clock and of CPU time, by what they were for."""

    def __init__(self):
        self.spent = {"bare": [0.0, 0.0], "ours": [0.0, 0.0]}
        dist.barrier()
        self.since = perf_counter(), process_time()

    def stop(self, name):
        dist.barrier()
        for index, now in enumerate((perf_counter(), process_time())):
            self.spent[name][index] += now - self.since[index]
        self.since = perf_counter(), process_time()


def time_steps(folder, epochs):
    trainer = make_trainer(folder, {"data_loader.args.batch_size": BATCH})
    take_bare, after_step = bare_loop(trainer, dist.get_world_size()), trainer._save_or_stop_if_due
    found = []

    def take_turns():
        after_step()
        if trainer.batch_idx % TURN == 0:
            clock.stop("ours")
            take_bare(is_last=trainer.batch_idx == STEPS)
            clock.stop("bare")

    trainer.asks_each_step = True
    trainer._save_or_stop_if_due = take_turns
    dropped = DROPPED if epochs > 1 else 0
    for _ in range(epochs + dropped):
        clock = Clock()
        take_ours(trainer)
        clock.stop("ours")
        found.append(clock.spent)
    trainer.writer.close()
    return found[dropped:]


def sent():
    """Bytes that went over the loopback device so far."""
    for line in Path("/proc/net/dev").read_text().splitlines():
        if line.strip().startswith("lo:"):
            return int(line.split(":")[1].split()[8])
    return 0


def resident(name):
    status = Path("/proc/self/status").read_text()
    return int(status.split(f"{name}:")[1].split()[0]) * 1024


def measure_memory(folder, kind):
    changes = {"arch": {"type": "distributed.Deep"}, "data_loader.args.batch_size": 8}
    changes |= {"trainer.tensorboard": False, "trainer.log_step": STEPS + 1, "metrics": []}
    dist.barrier()
    before = resident("VmHWM")
    trainer = make_trainer(folder, changes | KINDS[kind])
    trainer.len_epoch = 2
    take_ours(trainer)
    dist.barrier()
    start = sent()
    take_ours(trainer)
    dist.barrier()
    per_step = (sent() - start) / trainer.len_epoch
    parameters = list(trainer.model.parameters())
    state = [one for values in trainer.optimizer.state.values() for one in values.values()]
    return {
        "weights": size(parameters),
        "gradients": size([one.grad for one in parameters]),
        "Adam": size(state),
        "resident": resident("VmRSS") - before,
        "most": resident("VmHWM") - before,
        "sent": per_step / dist.get_world_size(),
        "all weights": sum(one.numel() * 4 for one in parameters),
    }


def size(tensors):
    local = [one.to_local() if hasattr(one, "to_local") else one for one in tensors]
    return sum(one.numel() * one.element_size() for one in local)


def work(what, folder, argument):
    """What a process under torchrun does."""
    from utils import distributed

    torch.set_num_threads(1)
    with distributed.process_group(), open(os.devnull, "w") as nothing:
        with contextlib.redirect_stdout(nothing):
            found = (
                time_steps(folder, int(argument))
                if what == "time"
                else measure_memory(folder, argument)
            )
        if distributed.is_main():
            print(json.dumps(found))


def under_torchrun(n, *arguments):
    with TemporaryDirectory() as folder:
        what, argument = arguments
        command = [*TORCHRUN, f"--nproc-per-node={n}", __file__, "work", what, folder, argument]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", **MEMORY}
        if what == "memory":  # what is freed goes back at once, else it would count as resident
            environment["MALLOC_MMAP_THRESHOLD_"] = "1000000"
        output = subprocess.check_output(command, env=environment, text=True)
    return json.loads(output.splitlines()[-1])


def report_time(n, epochs):
    launches, found = min(LAUNCHES, epochs), []
    for _ in range(launches):
        found += under_torchrun(n, "time", str(epochs // launches))
    print(f"{n} processes, milliseconds a step      median   least    most")
    for index, clock in enumerate(("by the clock", "of CPU in the main process")):
        for kind in ("bare", "ours"):
            values = [1000 * epoch[kind][index] / STEPS for epoch in found]
            row(f"{kind}, {clock}", values)
        row(f"ours / bare, {clock}", [one["ours"][index] / one["bare"][index] for one in found])


def row(name, values):
    print(f"{name:<38}" + "".join(f"{f(values):8.3f}" for f in (median, min, max)), flush=True)


def report_memory(n, kinds):
    names = ("weights", "gradients", "Adam", "sent in a step")
    print(f"\n{n} processes, MB in each, measured / computed")
    print(f"{'':<18}" + "".join(f"{name:>16}" for name in names) + "   resident, most")
    for kind in kinds:
        found = {name: value / 1e6 for name, value in under_torchrun(n, "memory", kind).items()}
        whole = found["all weights"]
        part = whole if kind == "DDP" else whole / n
        rounds = {"DDP": 2, "FSDP as a whole": 3, "FSDP by blocks": 4}[kind]
        computed = {"weights": part, "gradients": part, "Adam": 2 * part}
        computed["sent"] = rounds * (n - 1) / n * whole
        cells = "".join(f"{found[k]:8.1f} /{v:6.1f}" for k, v in computed.items())
        print(f"{kind:<18}{cells}{found['resident']:11.0f}{found['most']:6.0f}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        work(*sys.argv[2:])
    else:
        n, epochs = map(int, [*sys.argv[1:3], *["2", "120"][len(sys.argv[:3]) - 1 :]])
        report_time(n, epochs)
        report_memory(n, sys.argv[3:] or KINDS)
