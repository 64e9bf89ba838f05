"""Mistakes that show early: --check tries a run on a few batches, first steps are watched."""

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from importlib.util import find_spec
from itertools import islice
from logging.handlers import BufferingHandler
from math import isfinite, isnan
from operator import length_hint
from shutil import rmtree
from traceback import extract_stack, walk_tb
from typing import Any

import torch
from torch import nn

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from tools import for_one_process, of_a_new_run
from utils import checkpoint, distributed
from utils.check import Mistake
from utils.device import get_device
from utils.errors import RunError, UserError, in_one_line, place_of
from utils.meter import name_of
from utils.optim import by_name, learning_rates
from utils.run_dir import BEST_NAME, LAST_NAME, make_run_dir

FLAG = {"action": "store_true", "help": "try everything on a few batches and leave nothing behind"}


def run(config: ConfigParser, _: Any) -> None:
    """Check the trainer that a config describes."""
    from train import build_trainer  # here, as the train.py of an old project has none

    for_one_process("--check")
    saved = config.runs_dir.parent / f".check-{os.getpid()}"  # -r auto does not look there
    config.save_dir, config._made = make_run_dir(saved / config["name"])
    try:
        check(build_trainer(config))
    finally:
        rmtree(saved, ignore_errors=True)
        config.discard_run()


def check(trainer: Any) -> None:
    """Say what a run of a few batches does. Raises UserError for what would end a run."""
    from utils import resume  # a run without --check does without it

    of_a_new_run(trainer.config, "--check")
    os.environ["WANDB_MODE"] = "offline"  # trackers send nothing, and write where nothing stays
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{trainer.checkpoint_dir / 'mlflow.db'}"
    logging.disable(logging.INFO)
    logging.getLogger().addHandler(warnings := BufferingHandler(capacity=1000))
    logging.captureWarnings(True)  # of torch, as of shapes that do not fit
    try:
        batches = shorten_epochs(trainer)
        before = [p.data.clone() for p in trainer.model.parameters()]
        log = BaseTrainer.train(trainer)  # a subclass may have another
        values = {k: v for k, v in log.items() if k != "epoch" and isinstance(v, (int, float))}
        if bad := [k for k, v in values.items() if k.endswith("loss") and not isfinite(v)]:
            raise UserError(f"{bad[0]} is {values[bad[0]]} on the first batches")
        is_as_before = all(map(torch.equal, before, trainer.model.parameters()))
        if is_as_before and NO_STEP in [record.msg for record in warnings.buffer]:
            raise UserError("no step has changed a weight")
        say(f"{len(batches)} batches", "  ".join(f"{k} {v:.4g}" for k, v in values.items()))
        path = trainer.checkpoint_dir / (BEST_NAME if trainer.mnt_mode != "off" else LAST_NAME)
        resume.set_weights(trainer.model, resume.load(path)["state_dict"], path)
        say("checkpoint", f"{path.stat().st_size / 1e6:.1f} MB, read back")
        for callback in trainer.callbacks:
            for finding in callback.findings(trainer) if hasattr(callback, "findings") else ():
                say(*finding)
        print("See the warnings above." if warnings.buffer else "All is well.")
    finally:
        logging.getLogger().removeHandler(warnings)
        logging.captureWarnings(False)
        logging.disable(logging.NOTSET)


def shorten_epochs(trainer: Any) -> "FewBatches":
    """Let training be an epoch of these batches, before and after which all is as in a run."""
    n_tried = max(5, 2 * getattr(trainer, "accumulate_steps", 1))
    batches = FewBatches(trainer.data_loader, n_tried, "training")
    few = {"data_loader": batches, "len_epoch": len(batches), "epoch_is_pass": True}
    if (valid_loader := getattr(trainer, "valid_data_loader", None)) is not None:
        few["valid_data_loader"] = FewBatches(valid_loader, 1, "validation")
    train_epoch = trainer._train_epoch

    def short_epoch(epoch: int) -> dict[str, Any]:
        real = {name: value for name, value in vars(trainer).items() if name in few}
        vars(trainer).update(few, early_stop=0)  # no other epoch
        log = train_epoch(epoch)
        vars(trainer).update(real)
        return log

    trainer._train_epoch = short_epoch
    return batches


def say(name: str, finding: str) -> None:
    print(f"{name:<18}{finding}")


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
    """The first `n` batches of a loader, and the smallest of its pass; else, it is the loader."""

    def __init__(self, loader: Any, n: int, name: str) -> None:
        self.loader, self.n, self.name = loader, n, name

    def __len__(self) -> int:
        n = length_hint(self.loader) or self.n
        return min(n, self.n + hasattr(getattr(self.loader, "batch_sampler", None), "cuts"))

    def __iter__(self) -> Iterator[Any]:
        for number, batch in enumerate(islice(self.loader, self.n)):
            if number == 0:
                say(f"{self.name} batch", describe(batch))
            yield batch
        sampler: Any = getattr(self.loader, "batch_sampler", None)
        if hasattr(sampler, "cuts") and len(self.loader) > self.n:
            smallest = min((stop - start, start) for _, start, stop in sampler.cuts(0))[1]
            self.loader.load_state_dict(self.loader.state_dict() | {"samples": smallest})
            yield from islice(self.loader, 1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)


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


def doubts_of_monitor(trainer: Any) -> Iterator[str]:
    """Whether it keeps the worst epoch, has no data, or has nearly the name of a value."""
    if trainer.mnt_mode != "off" and (mode := better(trainer)) not in (None, trainer.mnt_mode):
        meant = f"did you mean '{mode} {trainer.mnt_metric}'?"
        yield f"trainer.monitor = {trainer.monitor!r} keeps the worst epoch: {meant}"
    if trainer.mnt_metric.startswith("val_") and not getattr(trainer, "do_validation", True):
        yield f"trainer.monitor = {trainer.monitor!r}: there is no validation data"
    names = ["loss", *map(name_of, trainer.metric_ftns)]
    names += [f"val_{name}" for name in names]
    near = get_close_matches(trainer.mnt_metric, names, n=1, cutoff=0.9)
    if near and not trainer.mnt_metric.startswith(near[0]):
        yield f"trainer.monitor = {trainer.monitor!r}: did you mean {near[0]!r}?"


def schedules(trainer: Any) -> Iterator[tuple[str, str, Any, int]]:
    """Each schedule with its key and interval, and how often it moves on, where that is known."""
    n_steps = -(-(getattr(trainer, "len_epoch", 0) or 0) // getattr(trainer, "accumulate_steps", 1))
    settings = by_name(trainer.config.settings.lr_scheduler)
    for name, scheduler in by_name(trainer.lr_scheduler).items():
        interval = getattr(settings.get(name), "interval", "epoch")
        done = trainer.step if interval == "step" else trainer.start_epoch - 1
        # One that has begun in a resumed run has fewer to go
        before = done - getattr(scheduler, "last_epoch", done)
        if n := trainer.epochs * (n_steps if interval == "step" else 1):
            yield f"lr_scheduler.{name}".rstrip("."), interval, scheduler, n - before


def compare_lengths(trainer: Any, key: str, interval: str, scheduler: Any, n: int) -> None:
    """Say where a schedule is not for `n` steps. Raises UserError for one that does not fit."""
    is_ours = getattr(type(trainer)._train_epoch, "__module__", "") == "trainer.trainer"
    on_plateau = is_ours and type(scheduler).__name__ == "ReduceLROnPlateau"
    if on_plateau and (scheduler.mode, interval) != (trainer.mnt_mode, "epoch"):
        what = f"mode = {scheduler.mode!r} by {interval}s"
        raise UserError(f"{key}: {what}, not {trainer.monitor!r} by epochs")
    for name in {"total_steps", "T_max"} & {*vars(scheduler)}:
        length = getattr(scheduler, name)
        run = f"the run {n} (interval = {interval}, trainer.epochs = {trainer.epochs})"
        line = f"{key}.args.{name}: the schedule has {length} steps, but {run}"
        if length < n and name == "total_steps":
            raise UserError(line)
        if length < n:
            trainer.logger.warning("%s: the rate rises again", line)
        elif length > n:
            trainer.logger.info("%s", line)


ADVICE = {  # on what torch says
    r"'closure'": "this optimizer takes a closure: write a train_step that gives it one",
    r"must be Tensor, not NoneType": "forward is to return something",
    r"'input'.* must be Tensor, not": "the loss takes a tensor: write a train_step for this output",
    r"to unpack|Tensor, not|got \((str|list|tuple|dict|numpy)|'(str|list|dict)' obj": "train_step "
    "takes (input, target), two tensors: write it for this batch",
    r"required positional arg": "write a train_step that gives the model or the loss what it takes",
    r"Target .* out of bounds|for all \d+ classes": "classes count from 0; for C of them the "
    "model gives C outputs, and a loss has C weights, if any; ignore_index may be another number",
    r"target dtype|[hil][- ]target|Target size|type Long|got Long": "cross_entropy takes int64 "
    "(N, ...) as targets, class numbers; other losses take floats in the shape of the output",
    r"nput d?type|same dtype|scalar type(?!s: L)|Found dtype": "the data loader is to give float32",
    r"be multiplied|\d+ channels|size mismatch|xpected \dD|input_size": "the model is to fit it",
    r"range in self|out of bounds|device-side assert": "a number in it is too large for arch.args",
    r"1 value per channel": "batch norm of a single sample: data_loader.args.drop_last=true",
    r"on the same device": "what train_step or forward makes is to have device=self.device",
    r"does not require grad": "the loss is to depend on weights that are trained",
    r"for scalar outputs|attribute 'backward'": "the loss is to be a tensor of one number, a mean",
    r"graph a second time": "self.optimize(loss) does the backward pass: leave out loss.backward()",
}
WORKER_DIED = "a data loader's worker died, as where memory is short"
EXPLANATIONS = {  # of errors, by what they say
    "MemoryError|out of memory|allocate memory": "out of memory: take a smaller batch_size",
    r"Connection closed by peer|pair\.cc.*(reset|Broken)": "another process has ended and says why",
    "unused_parameters=True": "unused parameters: parallel.find_unused_parameters=true allows it",
    "device-side assert": "a class or an index is out of range: -d cpu shows where",
    r"worker \(pid.* (is killed|exited)|Pin memory thread exited": WORKER_DIED,
}
COLLATE = "give the data loader a collate_fn that makes a batch of such samples"
NO_STEP = "trainer.optimizer takes no step with gradients: self.optimize(loss) in train_step does"
OWN_STEP = "train_step: call self.optimize(loss), not optimizer.step(): it clears, clips and checks"
OWN_NORM = "batch norm is of each process by itself; parallel.sync_batch_norm=true: of all, on GPUs"


class FirstSteps(Callback):
    """Looks at the loader and the monitor, at the first step, and at the error that ends a run."""

    handles: list[Any] = []  # of hooks, for the first step

    def on_check(self, config: ConfigParser, mistakes: list, before_data: bool = False) -> None:
        try:
            get_device(config["device"] if before_data else "cpu")  # else it may be elsewhere
        except UserError as error:
            mistakes.append(Mistake(("device",), f": {error}"))

    def on_data_built(self, data_loader: Any, config: Any) -> None:
        if getattr(data_loader, "timeout", 0) and not getattr(data_loader, "num_workers", True):
            raise UserError("data_loader: timeout is for workers: num_workers must be 1 or more")
        is_ours = hasattr(data_loader, "n_samples_mean")
        if is_ours and not getattr(data_loader, "in_order", True):
            raise UserError("data_loader: in_order = false: a resume would leave batches out")
        if is_ours and getattr(data_loader.sampler, "num_replicas", 1) > 1:
            raise UserError("data_loader: a sampler of all samples: it deals them out by itself")
        if not hasattr(data_loader, "__iter__"):
            kind = f"a {type(data_loader).__name__} has no __iter__, so it gives no batches"
            raise UserError(f"data_loader.type = {config['data_loader']['type']!r}: {kind}")

    def on_model_built(self, model: nn.Module, config: ConfigParser) -> None:
        for name in [name for name, p in model.named_parameters() if nn.parameter.is_lazy(p)]:
            how = "call the model on an example in its __init__"
            raise UserError(f"arch: {name} has no size before the first batch: {how}")

    def on_train_start(self, trainer: Any) -> None:
        refuse_lists(distributed.unwrap(trainer.model))
        refuse_state(trainer)
        refuse_without_merge(trainer.metric_ftns)
        self.trainer, self.has_stepped, self.n_steps = trainer, False, 0
        if getattr(trainer.writer, "enabled", False) and find_spec("tensorboard") is None:
            trainer.logger.warning("tensorboard is not installed (pip install it): no event files")
            trainer.writer.enabled = False
        for line in doubts_of_monitor(trainer):
            trainer.logger.warning(line)
        self.told = warn_of_untrained(trainer, set())
        for schedule in schedules(trainer):
            compare_lengths(trainer, *schedule)
        lengths = distributed.all_gather(getattr(trainer, "len_epoch", 0))
        if len({*lengths}) > 1:  # of loaders that are not ours
            raise UserError(f"trainer.len_epoch: the processes have {lengths} batches: set it")
        norms = {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d}
        if distributed.world_size() > 1 and norms & {*map(type, trainer.model.modules())}:
            trainer.logger.warning(OWN_NORM)
        if hasattr(trainer, "is_first_micro_batch"):  # else it has a loop of its own
            optimizers = [x for x in by_name(trainer.optimizer).values() if hasattr(x, "step")]
            self.handles = [x.register_step_pre_hook(self.on_step) for x in optimizers]
            trainer.after_step.append(self.count)

    def on_step(self, optimizer: Any, args: Any, kwargs: Any) -> None:
        """Before a step of an optimizer, whoever takes it; the first that can change a weight."""
        if self.has_stepped:
            return
        has_closure = len(args) > 1 or bool(kwargs.get("closure"))
        parameters = [p for group in optimizer.param_groups for p in group["params"]]
        self.has_stepped = has_closure or any(p.grad is not None for p in parameters)
        callers = {frame.name for frame in extract_stack()}
        is_own = "train_step" in callers and "optimize" not in callers and not has_closure
        if self.has_stepped and is_own:
            self.trainer.logger.warning(OWN_STEP)

    def count(self) -> None:
        """After a step of the loop, by the tenth of which an optimizer is to have taken one."""
        self.n_steps += 1
        if self.n_steps == 1:  # now also what callbacks have added after this one
            refuse_state(self.trainer)
            of_log = {"epoch", *learning_rates(self.trainer.optimizer)}
            if taken := of_log & {*self.trainer.train_metrics.sums()}:
                raise UserError(f"train_step: the log has a value {taken.pop()!r} of its own")
        if self.has_stepped or self.n_steps == 10:
            self.look_back()

    def on_epoch_end(self, trainer: Any, log: dict[str, Any]) -> None:
        if isnan(float(log.get(trainer.mnt_metric, 0))):
            trainer.logger.warning("%s is nan: this epoch cannot be the best", trainer.mnt_metric)
        self.told = warn_of_untrained(trainer, self.told)
        self.look_back()

    def look_back(self) -> None:
        """On the first steps; then nobody looks at more."""
        if self.handles and self.n_steps and not self.has_stepped:
            self.trainer.logger.warning(NO_STEP)
        self.on_train_end(self.trainer, "")

    def on_train_end(self, trainer: Any, outcome: str) -> None:
        """Remove what looks at the first steps."""
        for handle in self.handles:
            handle.remove()
        self.handles = []
        if self.count in getattr(self.trainer, "after_step", ()):
            self.trainer.after_step.remove(self.count)
        if outcome == "finished" and trainer.epoch == 0:
            line = "All %d epochs are done; set trainer.epochs for more."
            trainer.logger.info(line, trainer.epochs)

    def on_test_start(self, trainer: Any) -> None:
        refuse_without_merge(trainer.metric_ftns)

    def on_error(self, trainer: Any, error: Exception) -> UserError | None:
        frames = [frame for frame, _ in walk_tb(error.__traceback__)]
        names = {frame.f_code.co_name for frame in frames}
        if "default_collate" in names or "in default_collate\n" in str(error):  # in a worker
            return UserError(f"{in_one_line(error)}: {COLLATE}")
        advice = next((text for words, text in ADVICE.items() if re.search(words, str(error))), "")
        if isinstance(error, UserError):
            return None
        if isinstance(error, (ConnectionError, EOFError)) and "_try_get_data" in names:
            return RunError(WORKER_DIED)
        trainer.logger.info("In full:", exc_info=error, extra={"is_shown": True})
        file, innermost = place_of(error).partition(":")[0], frames[-1].f_code.co_filename
        # Else torch was called, or it is the loop; errors of the user's own words may look alike
        is_own = file and innermost.endswith(file) and not re.fullmatch("trainer.trainer.py", file)
        batches = [frame.f_locals["batch"] for frame in frames if "batch" in frame.f_locals]
        if not (advice and batches) or names.isdisjoint(("train_step", "valid_step")) or is_own:
            return RunError(meaning) if (meaning := explain(error)) else None
        step = "train_step" if "train_step" in names else "valid_step"
        advice = advice.replace("train_step", step)
        what = describe(batches[-1])
        if re.fullmatch(r"u?int\d+ \(\d+,\), float\d+ \(\d+, .+\)", what):  # swapped
            advice = "the data loader is to give (input, target)"
        words = f"{place_of(error)}{in_one_line(error)}".rstrip(".")
        return UserError(f"{words}; the batch is {what}: {advice}")


class OneProcess(Callback):
    """Refuses a run that another process is training; Windows and some network drives cannot."""

    def on_train_start(self, trainer: Any) -> None:
        """Lock a file, until the process ends in whatever way; its workers have no part in that."""
        path = trainer.checkpoint_dir / f".lock{distributed.rank()}"
        with suppress(OSError, ImportError):
            import fcntl

            self.file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                what = f"{path.parent}: another process is training this run"
                raise UserError(f"{what}; delete {path.name} if none is") from None

    def on_train_end(self, trainer: Any, outcome: str) -> None:
        with suppress(KeyError):  # where there was no lock
            os.close(vars(self).pop("file"))


def refuse_lists(model: nn.Module) -> None:
    """Raises UserError for parameters in plain lists, which are neither trained nor saved."""
    known = {id(parameter) for parameter in model.parameters()}
    for name, module in model.named_modules(prefix="model"):
        for key, value in vars(module).items():
            for one in value if isinstance(value, (list, tuple)) else ():
                inside = one.parameters() if isinstance(one, nn.Module) else [one]
                if {id(p) for p in inside if getattr(p, "requires_grad", False)} - known:
                    what = f"a {type(value).__name__} of parameters is neither trained nor saved"
                    raise UserError(f"{name}.{key}: {what}: take nn.ModuleList or nn.ParameterList")


def warn_of_untrained(trainer: Any, told: set[str]) -> set[str]:
    """Say which parameters of the model and of losses want gradients, but are in no optimizer."""
    has = (*by_name(trainer.optimizer).values(), *vars(trainer).values(), *trainer.state.values())
    held = [x for one in has for x in (one if isinstance(one, (list, tuple)) else [one])]
    optimizers = [x for x in held if isinstance(x, torch.optim.Optimizer)]  # as a GAN may have
    trained = {id(p) for x in optimizers for group in x.param_groups for p in group["params"]}
    losses = [x for x in by_name(trainer.criterion).values() if isinstance(x, nn.Module)]
    if distributed.world_size() > 1 and trained & {id(p) for x in losses for p in x.parameters()}:
        raise UserError("loss: its parameters would differ by process: let the model have them")
    modules = (distributed.unwrap(trainer.model), *losses) if optimizers else ()
    named = [pair for module in modules for pair in module.named_parameters()]
    names = {name for name, p in named if p.requires_grad and id(p) not in trained}
    if new := sorted(names - told):
        line = "not trained, as no optimizer has them: %s%s"
        trainer.logger.warning(line, ", ".join(new[:3]), " and more" if new[3:] else "")
    return told | names


def refuse_state(trainer: Any) -> None:
    """Raises UserError where a checkpoint could not hold all of a trainer, with what and where."""
    if taken := checkpoint.DEFAULTS.keys() & {*trainer.state, *trainer.rank_state}:
        raise UserError(f"trainer.state: a checkpoint has a key {taken.pop()!r} of its own")
    own = {k: v for k, v in trainer.rank_state.items() if k != "data_loader"}  # may start workers
    own["criterion"] = checkpoint.with_state(trainer.criterion)
    try:
        shared = checkpoint.get_state(checkpoint.shared_parts(trainer))
        checkpoint.to_plain(shared | checkpoint.pack(checkpoint.get_state(own), trainer.device))
    except (AttributeError, TypeError) as error:
        raise UserError(f"trainer.state: {error}") from None


def refuse_without_merge(metrics: list[Any]) -> None:
    """Raises UserError for a metric that collects, but cannot do so over several processes."""
    for metric in metrics if distributed.world_size() > 1 else ():
        can_merge = hasattr(metric, "merge") or hasattr(metric, "persistent")  # of torchmetrics
        if hasattr(metric, "compute") and not can_merge:
            how = "a method merge, which takes in what another process has collected"
            raise UserError(f"metrics: {name_of(metric)} needs {how}")


def explain(error: BaseException) -> str | None:
    """What an error means, if it is known; for one of files its place and last line."""
    message = f"{type(error).__name__}: {error}: {error.__context__}"
    last = str(error).strip().rpartition("\n")[2]
    of_files = f"{place_of(error)}{last}" if isinstance(error, OSError) else None
    return next((v for k, v in EXPLANATIONS.items() if re.search(k, message)), of_files)
