"""How a training starts, when it saves, and what ends it: with words and a complete checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from shlex import quote
from signal import Signals
from typing import Any

from utils import checkpoint, distributed
from utils.command_line import let_workers_die
from utils.errors import RunError, UserError, as_warning, in_one_line, place_of
from utils.run_dir import LAST_NAME, mark, remove_old

SIGNAL_STEPS = 16  # after which several processes ask each other for signals, all at the same step


def prepare(trainer: Any) -> None:
    """Take up a checkpoint, let the callbacks find mistakes, begin the logs."""
    config = trainer.config
    try:
        for callback in trainer.callbacks:
            callback.on_setup(trainer)
        trainer.model = distributed.wrap(trainer)
        if config.resume is not None and not trainer.outcome:
            trainer._resume_checkpoint(config.resume)
        elif trainer.batch_idx > 0 and "data_loader" in trainer.rank_state:  # interrupted before
            loader = trainer.rank_state["data_loader"]
            loader.load_state_dict(loader.state_dict())
        for callback in trainer.callbacks:
            callback.on_train_start(trainer)
        config.start_run()
    except Exception:
        config.discard_run()
        raise
    model = distributed.unwrap(trainer.model)
    trainer.logger.info("%s\nRun directory: %s", model, trainer.checkpoint_dir)


def begin_pass(trainer: Any, epoch: int) -> None:
    """Where an epoch begins a pass over the data, tell the loader or its sampler which one."""
    seed: int = trainer.config.settings.seed
    valid: Any = getattr(trainer, "valid_data_loader", None)
    if hasattr(valid, "n_samples_mean") and not valid._passes.is_fixed:
        valid.set_epoch(seed, epoch - 1)
    if trainer.batch_idx > 0 or not (trainer.epoch_is_pass or trainer.step == 0):
        return
    loader: Any = getattr(trainer, "data_loader", None)
    if hasattr(loader, "n_samples_mean"):  # a BaseDataLoader
        loader.set_epoch(seed, epoch - 1)
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
    if distributed.world_size() == 1 or trainer.step % SIGNAL_STEPS == 0:
        stop_if_asked(trainer, trainer.epoch - 1)


def stop_if_asked(trainer: Any, epochs_done: int) -> None:
    """Where a process has a signal to stop, save and raise RunError with the status for it."""
    signal = int(distributed.all_reduce(trainer.stop_signals.received, "MAX"))
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
        let_workers_die()
        for callback in trainer.callbacks:
            error = callback.on_error(trainer, error) or error
        with suppress(RunError):
            trainer.saver.wait()
        is_expected, status = isinstance(error, UserError), getattr(error, "status", 1)
        what = str(error) if is_expected else place_of(error) + in_one_line(error)
        if status <= 128:  # else a signal has asked for the end, here or in another process
            trainer.outcome = f"failed: {what}"
        last = trainer.checkpoint_dir / LAST_NAME
        n = distributed.world_size()
        script = "python" if n == 1 else f"torchrun --nproc-per-node={n}"
        command = f"{script} train.py -r {quote(str(last))}"
        how = f"Go on with: {command}" if last.exists() else "No checkpoint yet."
        is_told = status > 128 and not distributed.is_main()  # all have ended alike
        line = f"epoch {trainer.epoch}, step {trainer.step}: {what.rstrip('.')}. {how}"
        trainer.logger.error("%s", line, extra={"is_shown": is_told})
        if not is_expected:
            raise  # the code's own: its traceback says more
        raise RunError(what, status, is_shown=True) from error
    finally:
        for callback in trainer.callbacks:
            with as_warning(trainer.logger, f"{type(callback).__name__}.on_train_end"):
                callback.on_train_end(trainer, trainer.outcome)
        if distributed.is_main():
            with as_warning(trainer.logger, "how the run has ended is not noted"):
                mark(trainer.checkpoint_dir, outcome=trainer.outcome)
        trainer.writer.close()
        for name in ("data_loader", "valid_data_loader"):  # later, to end workers may take long
            if (inner := getattr(getattr(trainer, name, None), "_loader", None)) is not None:
                inner._iterator = None
