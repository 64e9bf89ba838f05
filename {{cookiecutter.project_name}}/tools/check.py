"""Mistakes that show early: --check tries a run on a few batches, first steps are watched."""

import logging
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from math import isfinite
from shutil import rmtree
from traceback import walk_stack, walk_tb
from typing import Any

import torch
from torch.optim.lr_scheduler import ReduceLROnPlateau

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from utils import checkpoint, distributed, extras
from utils.errors import UserError, in_one_line, place_of
from utils.meter import name_of
from utils.optim import by_name, learning_rates, parameters_of
from utils.run_dir import BEST_NAME, LAST_NAME, make_run_dir, remove
from utils.samples import length_of

FLAG = {"action": "store_true", "help": "try everything on a few batches and leave nothing behind"}
BATCHES, MOST_STEPS = 5, 100_000


def run(config: ConfigParser, _: Any) -> None:
    """Check the trainer that a config describes."""
    from train import build_trainer  # here, as the train.py of an old project has none

    extras.for_one_process("--check")
    # Where -r auto does not find what a check leaves that is killed
    saved = config.runs_dir.parent / f".check-{os.getpid()}"
    config.save_dir, config._made = make_run_dir(saved / config["name"])
    try:
        check(build_trainer(config))
    finally:
        rmtree(saved, ignore_errors=True)
        config.discard_run()


def check(trainer: Any) -> None:
    """Print what a trainer does with some batches. Raises UserError for what would end a run."""
    config = trainer.config
    extras.of_a_new_run(config, "--check")
    before = {*config.save_dir.glob("*")}
    os.environ["WANDB_MODE"] = "offline"
    os.environ.pop("MLFLOW_TRACKING_URI", None)  # then it writes a file there
    logging.disable(logging.INFO)
    warnings: list[Any] = []
    logging.getLogger().addHandler(handler := logging.Handler())
    handler.emit = warnings.append  # type: ignore
    try:
        try_out(trainer)
        print("See the warnings above." if warnings else "All is well.")
    finally:
        logging.getLogger().removeHandler(handler)
        logging.disable(logging.NOTSET)
        trainer.writer.close()
        for path in {*config.save_dir.glob("*")} - before:
            remove(path)
        config.discard_run()


def try_out(trainer: Any) -> None:
    """Train for an epoch of a few batches, with all else as in a run, and say what was seen."""
    n_batches = getattr(trainer, "len_epoch", None) or length_of(trainer.data_loader) or 0
    n_tried = max(BATCHES, 2 * getattr(trainer, "accumulate_steps", 1))
    few: dict[str, Any] = {"data_loader": FewBatches(trainer.data_loader, n_tried, "training")}
    if (valid_loader := getattr(trainer, "valid_data_loader", None)) is not None:
        few["valid_data_loader"] = FewBatches(valid_loader, 1, "validation")
    batches, train_epoch, attributes = few["data_loader"], trainer._train_epoch, vars(trainer)
    few |= {"len_epoch": len(batches), "epoch_is_pass": True}

    def short_epoch(epoch: int) -> dict[str, Any]:
        real = {name: attributes[name] for name in few if name in attributes}
        attributes.update(few, early_stop=0)  # no other epoch
        try:
            return train_epoch(epoch)
        finally:
            attributes.update(real)

    trainer._train_epoch = short_epoch
    trainer._save_or_stop_if_due = lambda: None  # one checkpoint is enough
    if hasattr(trainer, "finite"):
        trainer.finite.advice = ""  # this run cannot be repeated
    trained = [p for p in trainer.model.parameters() if p.requires_grad]
    before, rates = [p.detach().clone() for p in trained], learning_rates(trainer.optimizer)
    planned = [*schedules(trainer)]
    log = BaseTrainer.train(trainer)  # a subclass may have another
    values = {k: v for k, v in log.items() if k != "epoch" and isinstance(v, (int, float))}
    for name, value in values.items():
        if name.endswith("loss") and not isfinite(value):
            raise UserError(f"{name} is {value} on the first batches")
    if all(map(torch.equal, before, trained)) and any(rates.values()):
        raise UserError("no step has changed a weight: train_step is to call self.optimize(loss)")
    say(f"{len(batches)} batches", "  ".join(f"{k} {v:.4g}" for k, v in values.items()))
    say("monitor", trainer.monitor)
    path = trainer.checkpoint_dir / (BEST_NAME if trainer.mnt_mode != "off" else LAST_NAME)
    weights = checkpoint.load(path)["state_dict"]
    checkpoint.set_weights(distributed.unwrap(trainer.model), weights, path)
    say("checkpoint", f"{path.stat().st_size / 1e6:.1f} MB, read back")
    for _, interval, scheduler, n in planned:
        say("schedule", f"{n} {interval}s, {end_of(scheduler, n)}")
    if (report := trainer.checkpoint_dir / "report.html").exists():
        say("report", f"{report.stat().st_size / 1e6:.1f} MB")
    _, *times = batches.times  # the first step takes longer
    if n_batches and len(times) > 1:
        seconds = (times[-1] - times[0]) / (len(times) - 1) * n_batches
        say("training time", f"about {seconds:.2g} s for an epoch of {n_batches} batches")


def say(name: str, finding: str) -> None:
    print(f"{name:<18}{finding}")


def end_of(scheduler: Any, n: int) -> str:
    """The last learning rate of a schedule of n steps. Raises UserError where it has fewer."""
    if isinstance(scheduler, ReduceLROnPlateau) or not hasattr(scheduler, "get_last_lr"):
        return type(scheduler).__name__
    rate = scheduler.get_last_lr()[0]
    try:
        for _ in range(min(n - scheduler.last_epoch, MOST_STEPS)):
            rate = scheduler.get_last_lr()[0]
            scheduler.step()
    except Exception as error:
        raise UserError(f"lr_scheduler: the run takes {n} steps: {in_one_line(error)}") from error
    length = f", T_max = {scheduler.T_max}" if hasattr(scheduler, "T_max") else ""
    return f"lr {rate:.3g} in the last{length}"


def describe(batch: Any) -> str:
    """Types and shapes of the tensors in a batch."""
    if isinstance(batch, torch.Tensor):
        return f"{str(batch.dtype).removeprefix('torch.')} {tuple(batch.shape)}"
    if isinstance(batch, dict):
        return "{" + ", ".join(f"{key}: {describe(value)}" for key, value in batch.items()) + "}"
    if isinstance(batch, (list, tuple)):
        if len(batch) > 1 and {type(one) for one in batch} < {str, int, float, bool}:
            return f"{len(batch)} {type(batch[0]).__name__}"
        return ", ".join(map(describe, batch))
    return type(batch).__name__


class FewBatches:
    """The first `n` batches of a loader, then the smallest of its pass, which may have one sample.

    It says what the first is like. Whatever else is asked, the loader says.
    """

    def __init__(self, loader: Any, n: int, name: str) -> None:
        self.loader, self.n, self.name = loader, n, name
        self.times: list[float] = []  # when each was asked for

    def __len__(self) -> int:
        n = length_of(self.loader) or self.n
        return min(n, self.n + hasattr(getattr(self.loader, "batch_sampler", None), "cuts"))

    def __iter__(self) -> Iterator[Any]:
        smallest = start_of_smallest(self.loader, self.n)
        for batch in islice(self.loader, self.n):
            if not self.times:
                say(f"{self.name} batch", describe(batch))
            self.times.append(time.perf_counter())
            yield batch
        self.times.append(time.perf_counter())
        if smallest is not None:
            self.loader.load_state_dict(self.loader.state_dict() | {"samples": smallest})
            yield from islice(self.loader, 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


def start_of_smallest(loader: Any, n: int) -> int | None:
    """After how many samples of a pass its smallest batch comes; None where nobody tells."""
    sampler: Any = getattr(loader, "batch_sampler", None)
    if not hasattr(sampler, "cuts") or len(loader) <= n:
        return None
    sampler.order(sampler.seed, sampler.epoch)  # that of others decides where it is cut
    return min((stop - start, start) for _, start, stop in sampler.cuts(0))[1]


LESS = "loss error err mae mse rmse mape perplexity ppl nll fid wer cer frechet".split()
MORE = """accuracy acc auc auroc f1 precision recall specificity iou dice r2 bleu rouge psnr ssim
kappa mcc""".split()  # is better: words in the names of metrics


def better(trainer: Any) -> str | None:
    """How the monitored value is better, "min" or "max": a metric says it, or its name does."""
    name = trainer.mnt_metric.removeprefix("val_")
    metric = next((one for one in trainer.metric_ftns if name_of(one) == name), None)
    higher = getattr(getattr(metric, "func", metric), "higher_is_better", None)  # as torchmetrics
    words = {*re.split(r"[\W_]+", name.lower())}
    if higher is None and words.isdisjoint(LESS) != words.isdisjoint(MORE):
        higher = words.isdisjoint(LESS)
    return None if higher is None else "max" if higher else "min"


def n_classes_of(data_loader: Any) -> int | None:
    """How many classes a data set says to have, or its labels; else None."""
    dataset: Any = getattr(data_loader, "dataset", None)
    labels: Any = getattr(dataset, "targets", [*getattr(dataset, "tensors", ())][-1:])
    classes = getattr(data_loader, "classes", getattr(dataset, "classes", None))
    if isinstance(classes, (list, tuple)):
        return len(classes)
    with suppress(TypeError, ValueError, RuntimeError):  # other things by these names
        labels = torch.as_tensor(labels[0] if len(labels) == 1 else labels)
        is_class = labels.shape == (len(dataset),) and not labels.is_floating_point()
        return int(labels.max()) + 1 if is_class else None
    return None


def schedules(trainer: Any) -> Iterator[tuple[str, str, Any, int]]:
    """Each schedule with its key and interval, and how often it has moved on when the run ends."""
    n_epochs = n_steps = trainer.epochs - (trainer.start_epoch + trainer._epochs_done - 1)
    if (per_step := getattr(trainer, "accumulate_steps", None)) is not None:
        n_steps = n_epochs * -(-trainer.len_epoch // per_step) - trainer.batch_idx // per_step
    settings = by_name(trainer.config.settings.lr_scheduler)
    for name, scheduler in by_name(trainer.lr_scheduler).items():
        interval = getattr(settings.get(name), "interval", "epoch")
        n = getattr(scheduler, "last_epoch", 0) + (n_epochs if interval == "epoch" else n_steps)
        yield f"lr_scheduler.{name}".rstrip("."), interval, scheduler, n


def compare_lengths(trainer: Any, key: str, length: int, interval: str, n: int) -> str:
    """The words on a schedule of `length` steps where the run takes `n`."""
    run = f"the run {n} (interval = {interval}, trainer.epochs = {trainer.epochs})"
    return f"{key}: the schedule has {length} steps, but {run}"


def look_ahead(trainer: Any) -> None:
    """Warn of what makes no sense to the end of a run; UserError where that is not reached."""
    args = getattr(trainer.config.settings.arch, "args", {})  # an old project may have no arch
    n_outputs = args.get("num_classes")
    n_classes = n_classes_of(getattr(trainer, "data_loader", None))
    if n_classes and isinstance(n_outputs, int) and n_outputs > n_classes:
        line = "arch.args.num_classes = %d: the data have %d classes"
        trainer.logger.warning(line, n_outputs, n_classes)
    if trainer.mnt_mode != "off" and (mode := better(trainer)) not in (None, trainer.mnt_mode):
        line = "trainer.monitor = %r keeps the worst epoch: did you mean '%s %s'?"
        trainer.logger.warning(line, trainer.monitor, mode, trainer.mnt_metric)
    for key, interval, scheduler, n in schedules(trainer):
        for name in {"total_steps", "T_max"} & {*vars(scheduler)}:
            length = getattr(scheduler, name)
            line = compare_lengths(trainer, f"{key}.args.{name}", length, interval, n)
            if length < n and name == "total_steps":
                raise UserError(line)
            if length < n:
                trainer.logger.warning("%s: the rate rises again", line)
            elif length > n:
                trainer.logger.info("%s", line)


ADVICE = {  # on what torch says
    r"values to unpack|Tensor, not|got \((str|list|tuple|dict)|'(str|list|dict)' obj": (
        "train_step takes (input, target), two tensors: write it for this batch"
    ),
    r"Target .* out of bounds": "arch.args are to give as many classes as the data have",
    r"target dtype|ulti-target|Target size|type Long": "cross_entropy takes int64 (N,) as targets, "
    "class numbers; other losses take floats in the shape of the output",
    r"Input type|same dtype|scalar type|Found dtype": "the data loader is to give float32",
    r"be multiplied|to have \d+ channels|size mismatch|xpected \dD": "arch.args are to fit it",
    r"range in self|out of bounds|device-side assert": "a number in it is too large for arch.args",
    r"on the same device": "what train_step or forward makes is to have device=self.device",
    r"'closure'": "this optimizer takes a closure: write a train_step that gives it one",
    r"does not require grad": "the loss is to depend on weights that are trained",
    r"for scalar outputs": "the loss is to be one number, the mean over the batch",
    r"graph a second time": "self.optimize(loss) does the backward pass: leave out loss.backward()",
}
COLLATE = "give the data loader a collate_fn that makes a batch of such samples"
OWN_STEP = "train_step: call self.optimize(loss): a bare optimizer.step() clips and checks nothing"
OLD_GRADIENTS = "train_step: gradients of all steps add up: self.optimize(loss) clears them first"
NO_STEP = "no optimizer.step() in an epoch: train_step is to call self.optimize(loss)"


class FirstSteps(Callback):
    """Looks ahead at the start of a run, at the first steps, and at what ends one."""

    handles: dict[Any, list[Any]] = {}  # of the hooks on each optimizer

    def on_data_built(self, data_loader: Any, config: Any) -> None:
        if not hasattr(data_loader, "__iter__"):
            kind = f"a {type(data_loader).__name__} has no __iter__, so it gives no batches"
            raise UserError(f"data_loader.type = {config['data_loader']['type']!r}: {kind}")

    def on_train_start(self, trainer: Any) -> None:
        look_ahead(trainer)
        if not hasattr(trainer, "is_first_micro_batch"):
            return  # a loop of its own
        self.logger, self.n_steps = trainer.logger, Counter[Any]()
        self.have_old: dict[Any, bool] = {}
        optimizers = [x for x in by_name(trainer.optimizer).values() if hasattr(x, "param_groups")]
        self.handles = {x: [x.register_step_pre_hook(self.on_step)] for x in optimizers}

    def on_epoch_end(self, trainer: Any, log: dict[str, Any]) -> None:
        if self.handles and not self.n_steps:
            self.logger.warning(NO_STEP)
        self.on_train_end(trainer, "")

    def on_train_end(self, trainer: Any, outcome: str) -> None:
        for optimizer in [*self.handles]:
            self.leave(optimizer)

    def on_error(self, trainer: Any, error: Exception) -> UserError | None:
        frames = [frame for frame, _ in walk_tb(error.__traceback__)]
        names = {frame.f_code.co_name for frame in frames}
        if "default_collate" in names or "in default_collate\n" in str(error):  # in a worker
            return UserError(f"{in_one_line(error)}: {COLLATE}")
        advice = next((x for k, x in ADVICE.items() if re.search(k, str(error))), None)
        if (
            advice is None
            or not names & {"train_step", "valid_step"}
            or isinstance(error, UserError)
        ):
            return None
        what = describe(next(x.f_locals["batch"] for x in frames if "batch" in x.f_locals))
        if re.fullmatch(r"u?int\d+ \(\d+,\), float\d+ \(\d+, .+\)", what):  # swapped
            advice = "the data loader is to give (input, target)"
        trainer.logger.info("In full:", exc_info=error, extra={"is_shown": True})
        words = f"{place_of(error)}{in_one_line(error)}".rstrip(".")
        return UserError(f"{words}; the batch is {what}: {advice}")

    def on_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Before a step of an optimizer, whoever takes it."""
        self.n_steps[optimizer] += 1
        if self.n_steps[optimizer] == 1:
            found = [p for p in parameters_of(optimizer) if type(p.grad) is torch.Tensor]
            for p in [p for p in found if p.grad.layout is torch.strided][:1]:
                hook = partial(self.on_gradient, optimizer, p)
                self.handles[optimizer].append(p.register_hook(hook))
        elif self.n_steps[optimizer] == 2:
            if self.have_old.get(optimizer):
                raise UserError(OLD_GRADIENTS)
            callers = {frame.f_code.co_name for frame, _ in walk_stack(None)}
            has_closure = len(args) > 1 or kwargs.get("closure")
            if "optimize" not in callers and "train_step" in callers and not has_closure:
                self.logger.warning(OWN_STEP)

    def on_gradient(self, optimizer: Any, parameter: Any, gradient: Any) -> None:
        """After the first step, before a gradient is added to that of a parameter."""
        if self.n_steps[optimizer] > 1:  # within a step no hook of its can be removed
            return self.leave(optimizer)
        has_old = parameter.grad is not None and bool(parameter.grad.any())
        self.have_old[optimizer] = has_old and self.have_old.get(optimizer, True)

    def leave(self, optimizer: Any) -> None:
        for handle in self.handles.pop(optimizer):
            handle.remove()
