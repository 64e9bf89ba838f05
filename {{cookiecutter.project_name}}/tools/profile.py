"""Where the time of a training step goes: a table, and a trace of a few steps to look into.

The parts are timed from outside, by wrapping what the loop calls. On a GPU each part waits until
its work is done, which a real run does not.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from functools import wraps
from time import perf_counter
from typing import Any
from unittest.mock import patch

import torch
from torch.profiler import ProfilerActivity, record_function

from parse_config import ConfigParser
from tools import for_one_process, of_a_new_run
from tools.watchers import set_up
from train import build_trainer
from trainer import trainer as loop
from utils.errors import UserError
from utils.optim import by_name

FLAG = {"action": "store_true", "help": "time the parts of a step and trace a few steps"}
WARM_UP, TIMED, TRACED = 5, 100, 5  # steps
MAX_SECONDS = 20  # for those that are timed
REST = "the loop itself"
PARTS = ["data", "forward and loss", "backward", "optimizer", "metrics", REST]
TRACE = "train.pt.trace.json"  # TensorBoard's plugin looks for this ending


def run(config: ConfigParser, _: Any) -> None:
    """Print the table, and leave the trace in the run directory."""
    for_one_process("--profile")
    of_a_new_run(config, "--profile")
    trainer = build_trainer(config)
    path = config.save_dir / TRACE
    try:
        if type(trainer)._train_epoch is not loop.Trainer._train_epoch:
            raise UserError("--profile: cannot see into a _train_epoch of your own")
        profile = Profile(trainer)
        profile.train()
        profile.tracer.export_chrome_trace(str(path))
    finally:
        trainer.writer.close()
        for events in config.save_dir.glob("events.*"):
            events.unlink()
        if not path.exists():
            config.discard_run()
    print(profile.table())
    print(f"{TRACED} steps to look into, at https://ui.perfetto.dev or in TensorBoard: {path}")


class Profile:
    """A few steps of training, each moment of which belongs to one of PARTS."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.timed = self.seconds  # those of the steps that are timed
        self.n_steps = 0
        self.part, self.since = REST, perf_counter()
        self.is_tracing = self.is_done = False
        activities = [ProfilerActivity.CPU]
        if trainer.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        self.tracer = torch.profiler.profile(activities=activities, acc_events=True)

    def train(self) -> None:
        trainer, stages = self.trainer, self.stages()
        set_up(trainer)
        trainer.do_validation, trainer.lr_scheduler = False, None  # neither belongs to a step
        trainer.epoch, trainer.epoch_is_pass, trainer.asks_each_step = 1, False, True
        trainer.len_epoch = (WARM_UP + TIMED + TRACED) * trainer.accumulate_steps
        next(stages)
        _ = trainer.writer.writer  # opened by the first value, once for a run
        with ExitStack() as stack:
            for owner, name, part in self.calls():
                call = self.belonging_to(part, getattr(owner, name))
                stack.enter_context(patch.object(owner, name, call))
            batches = self.batches(trainer._epoch_batches)
            stack.enter_context(patch.object(trainer, "_epoch_batches", batches))
            stack.enter_context(patch.object(trainer, "_save_or_stop_if_due", stages.__next__))
            trainer._train_epoch(1)

    def stages(self) -> Iterator[None]:
        """What is done around the steps; each `yield` is one of them."""
        for _ in range(WARM_UP):
            yield
        self.enter(REST)
        self.seconds.clear()
        end = perf_counter() + MAX_SECONDS
        while self.n_steps < TIMED and perf_counter() < end:
            yield
            self.n_steps += 1
        self.enter(REST)
        self.seconds, self.timed = defaultdict(float), self.seconds
        with self.tracer:
            self.is_tracing = True
            for _ in range(TRACED):
                yield
        self.is_done = True
        yield

    def calls(self) -> Iterator[tuple[Any, str, str]]:
        """What to time: owner, name, part. The time inside another one of them belongs to that."""
        trainer = self.trainer
        yield loop, "to_device", "data"
        yield trainer, "train_step", "forward and loss"
        yield trainer, "optimize", REST
        yield trainer, "measure", "metrics"
        yield torch.Tensor, "backward", "backward"
        yield torch.nn.utils, "clip_grad_norm_", "optimizer"
        for optimizer in by_name(trainer.optimizer).values():
            yield optimizer, "step", "optimizer"
            yield optimizer, "zero_grad", "optimizer"

    def belonging_to(self, part: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with self.inside(part):
                return call(*args, **kwargs)

        return wrapper

    def batches(self, make: Callable[..., Any]) -> Callable[..., Any]:
        """`_epoch_batches`, whose time belongs to the data, until all steps are traced."""

        def wrapper() -> Iterator[Any]:
            batches = iter(make())
            while not self.is_done:
                with self.inside("data"):
                    batch = next(batches)
                yield batch

        return wrapper

    @contextmanager
    def inside(self, part: str) -> Iterator[None]:
        before = self.enter(part)
        with record_function(part) if self.is_tracing else nullcontext():
            yield
        self.enter(before)

    def enter(self, part: str) -> str:
        """From now on, time belongs to `part`; gives the one before."""
        if self.trainer.device.type != "cpu":
            torch.accelerator.synchronize()
        before, now = self.part, perf_counter()
        self.seconds[before] += now - self.since
        self.part, self.since = part, now
        return before

    def table(self) -> str:
        total = sum(self.timed.values())
        rows = [(part, self.timed[part]) for part in PARTS] + [("all", total)]
        lines = [f"{'mean of ' + str(self.n_steps) + ' steps':<18}{'ms':>10}{'%':>8}"]
        for part, seconds in rows:
            percent = 100 * seconds / total
            lines.append(f"{part:<18}{1000 * seconds / self.n_steps:10.3f}{percent:8.1f}")
        return "\n".join(lines)
