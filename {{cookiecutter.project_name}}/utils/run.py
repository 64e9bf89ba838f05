"""How a training starts, when it saves, and what ends it: with words and a complete checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from signal import Signals
from typing import Any

import torch
import torch.distributed as dist

from utils import checkpoint, distributed
from utils.errors import RunError, UserError, as_warning, in_one_line, place_of
from utils.extras import find_hook
from utils.optim import by_name
from utils.run_dir import LAST_NAME, mark, remove_old


def prepare(trainer: Any) -> None:
    """Take up a checkpoint, let the callbacks find mistakes, begin the logs."""
    config = trainer.config
    try:
        if not (isinstance(trainer.optimizer, dict) and hasattr(trainer, "optimize")):
            parallel = config.settings.parallel
            trainer.model = distributed.wrap(trainer.model, trainer.device, parallel)
        elif distributed.world_size() > 1 and not hasattr(trainer.model, "no_sync"):
            find_hook("average_gradients", "several optimizers with torchrun")(trainer.model)
        distributed.warn_of_batch_norm(trainer.model)
        for callback in trainer.callbacks:
            callback.on_setup(trainer)
        if config.resume is not None and not trainer.outcome:
            trainer._resume_checkpoint(config.resume)
        elif trainer.batch_idx > 0 and "data_loader" in trainer.rank_state:  # interrupted before
            loader = trainer.rank_state["data_loader"]
            loader.load_state_dict(loader.state_dict())
        for callback in trainer.callbacks:
            callback.on_train_start(trainer)
        checkpoint.check(trainer)
    except Exception:
        config.discard_run(with_files=True)
        raise
    say, done = trainer.logger.info, trainer.start_epoch + trainer._epochs_done - 1
    if config.resume is not None and not config.goes_on:
        say("%s is in no run directory: its state goes on in a new run", config.resume)
    config.start_run()
    say("%s\nRun directory: %s", distributed.unwrap(trainer.model), trainer.checkpoint_dir)
    trainer.epoch_log.start(done + 1)
    if done >= trainer.epochs:
        say("All %d epochs are done; set trainer.epochs for more.", done)


def begin_pass(trainer: Any, epoch: int) -> None:
    """Where an epoch begins a pass over the data, tell the loader or its sampler which one."""
    if trainer.batch_idx > 0 or not (trainer.epoch_is_pass or trainer.step == 0):
        return
    loader: Any = getattr(trainer, "data_loader", None)
    if hasattr(loader, "n_samples_mean"):  # a BaseDataLoader
        loader.set_epoch(trainer.config.settings.seed, epoch - 1)
    elif hasattr(loader, "set_epoch"):
        loader.set_epoch(epoch - 1)
    elif hasattr(getattr(loader, "sampler", None), "set_epoch"):  # a DistributedSampler
        loader.sampler.set_epoch(epoch - 1)


def save(trainer: Any, epochs_done: int, names: list[str]) -> None:
    """Write the present state under all `names`."""
    trainer.writer.flush()
    state = checkpoint.collect(trainer, epochs_done)
    paths = [trainer.checkpoint_dir / name for name in names]
    keep_last = trainer.config.settings.trainer.keep_last
    clean_up = partial(remove_old, trainer.checkpoint_dir, keep_last, epochs_done)
    trainer.saver.save(state, *paths, then=clean_up)


def save_or_stop_if_due(trainer: Any) -> None:
    """Between two steps: save as `save_every` says, and leave if a signal asks."""
    steps = trainer.config.settings.trainer.save_every.steps
    if steps is not None and trainer.step % steps == 0:
        trainer._save(trainer.epoch - 1, [LAST_NAME])
    signal = distributed.latest_max(trainer.stop_signals.received)
    stop_if_asked(trainer, trainer.epoch - 1, signal)


def stop_if_asked(trainer: Any, epochs_done: int, signal: int) -> None:
    """Where `signal` is not 0, save and raise RunError with the exit status of that signal."""
    if signal:
        trainer._save(epochs_done, [LAST_NAME])
        distributed.on_main(trainer.saver.wait)  # no process leaves before it is complete
        raise RunError(f"stopped by {Signals(signal).name}", status=128 + signal)


@contextmanager
def ending_well(trainer: Any) -> Iterator[None]:
    """Wait for the last checkpoint, tell trouble in one line, tell the callbacks.

    `trainer.outcome` is "interrupted" meanwhile, so that a kill leaves the right word. Raises
    RunError where a callback has explained the trouble, else what was raised inside.
    """
    trainer.outcome = "interrupted"
    try:
        yield
        trainer.saver.wait()
    except Exception as error:
        for callback in trainer.callbacks:
            error = callback.on_error(trainer, error) or error
        reason = str(error) if isinstance(error, UserError) else None
        with suppress(RunError):
            trainer.saver.wait()
        status = getattr(error, "status", 1)
        if status <= 128:  # else a signal has asked for the end, here or in another process
            trainer.outcome = f"failed: {reason or repr(error)}"
        said = (reason or place_of(error) + in_one_line(error)).rstrip(".")
        what = f"epoch {trainer.epoch}, step {trainer.step}: {said}"
        last = trainer.checkpoint_dir / LAST_NAME
        how = f"Go on with: python train.py -r {last}" if last.exists() else "No checkpoint yet."
        is_told = status > 128 and not distributed.is_main()  # all have ended alike
        trainer.logger.error("%s. %s", what, how, extra={"is_shown": is_told})
        if reason is None:
            raise  # the code's own: its traceback says more
        raise RunError(reason, status, is_shown=True) from error
    finally:
        for callback in trainer.callbacks:
            with as_warning(trainer.logger, f"{type(callback).__name__}.on_train_end"):
                callback.on_train_end(trainer, trainer.outcome)
        if distributed.is_main():
            with as_warning(trainer.logger, "how the run has ended is not noted"):
                mark(trainer.checkpoint_dir, outcome=trainer.outcome)
        trainer.writer.close()


NOT_TAKEN = "the step was not taken"


class FiniteCheck:
    """What is done about a step that is not finite, found out without waiting for a GPU.

    `found_inf`, on the device, is 1 once something was not finite. On a GPU a fused optimizer reads
    it and leaves out that step and all that follow, and `look_back` tells of it whenever somebody
    waits for the GPU anyway. Where `waits`, as on a CPU, the loop reads it before each step.
    """

    asks_others = False  # whether `heed` looks into each step

    def __init__(self, settings: Any, device: torch.device, optimizer: Any) -> None:
        self.policy = settings.non_finite
        self.optimizers = by_name(optimizer).values()
        self.found_inf, self.one = torch.zeros((), device=device), torch.ones((), device=device)
        are_fused = all(getattr(x, "_step_supports_amp_scaling", False) for x in self.optimizers)
        is_late = device.type == "cuda" and self.policy == "stop" and are_fused
        self.waits = self.policy != "ignore" and not is_late
        if is_late and settings.precision != "fp16":  # of which GradScaler leaves out bad steps
            for each in self.optimizers:
                each.found_inf = self.found_inf  # torch's own name, for its GradScaler

    def look(self, tensors: list[torch.Tensor]) -> None:
        """Set `found_inf` for tensors of several types, and for sparse or complex ones."""
        values = [x.coalesce().values() if x.is_sparse else x for x in tensors]
        finite = torch.stack([x.isfinite().all().to(self.one.device) for x in values])
        self.found_inf.logical_or_(~finite.all())

    def heed(self, step: int, loss: torch.Tensor, scaler: torch.amp.GradScaler) -> None:
        """Raise RunError for a step in which something was not finite."""
        is_loss = not loss.isfinite().all()
        raise self.error(f"the loss is {loss.item()}" if is_loss else "a gradient is not finite")

    def look_back(self) -> None:
        """Raise RunError where a GPU has left out steps. Waits for it, and for other processes."""
        if self.waits or self.policy == "ignore":
            return
        if distributed.world_size() > 1:
            dist.all_reduce(self.found_inf, dist.ReduceOp.MAX)
        if self.found_inf.item():
            raise self.error("in this step or one before, the loss or a gradient is not finite")

    def error(self, fault: str) -> RunError:
        return RunError(f"{fault}; {NOT_TAKEN}")

    def state_dict(self) -> dict[str, int]:
        self.look_back()  # so that no checkpoint has steps that were left out
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """There is nothing to take up."""
