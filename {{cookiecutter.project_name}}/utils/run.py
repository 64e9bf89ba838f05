"""How a training starts and ends: whatever happens, with words and with a complete checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from utils import distributed, trainer_state
from utils.errors import RunError, UserError, as_warning
from utils.run_dir import LAST_NAME


def prepare(trainer: Any) -> None:
    """Take up a checkpoint, let the callbacks find mistakes, begin the logs."""
    try:
        parallel = trainer.config.settings.parallel
        in_parts = isinstance(trainer.optimizer, dict) and hasattr(trainer, "optimize")
        trainer.model = distributed.wrap(trainer.model, trainer.device, parallel, in_parts)
        is_bare = not hasattr(trainer.model, "no_sync")  # which DDP and FSDP have
        trainer.averages_gradients = is_bare and distributed.world_size() > 1
        for callback in trainer.callbacks:
            callback.on_setup(trainer)
        if trainer.config.resume is not None and not trainer.outcome:
            trainer._resume_checkpoint(trainer.config.resume)
        elif trainer.batch_idx > 0 and "data_loader" in trainer.rank_state:  # interrupted before
            loader = trainer.rank_state["data_loader"]
            loader.load_state_dict(loader.state_dict())
        for callback in trainer.callbacks:
            callback.on_train_start(trainer)
        trainer_state.check(trainer)
    except Exception:
        trainer.config.discard_run(with_files=True)
        raise
    is_new = trainer.config.resume is not None and not trainer.config.goes_on
    trainer.config.start_run(trainer.step)
    trainer.logger.info(
        "%s\nRun directory: %s", distributed.unwrap(trainer.model), trainer.checkpoint_dir
    )
    if is_new:
        line = "%s is in no run directory: its state goes on in a new run"
        trainer.logger.info(line, trainer.config.resume)
    done = trainer.start_epoch + trainer._epochs_done - 1
    trainer.epoch_log.start(done + 1)
    if done >= trainer.epochs:
        trainer.logger.info("All %d epochs are done; set trainer.epochs for more.", done)


def begin_pass(trainer: Any, epoch: int) -> None:
    """Where an epoch begins a pass over the data, tell the loader or its sampler which one."""
    if trainer.batch_idx > 0 or not (trainer.epoch_is_pass or trainer.step == 0):
        return
    loader: Any = getattr(trainer, "data_loader", None)
    if hasattr(loader, "n_samples_mean"):  # a BaseDataLoader
        loader.set_epoch(trainer.config.settings.seed, epoch - 1)
        return
    parts: list[Any] = [loader, getattr(loader, "sampler", None)]  # or of a DistributedSampler
    for part in parts:
        if hasattr(part, "set_epoch"):
            part.set_epoch(epoch - 1)
            return


@contextmanager
def ending_well(trainer: Any) -> Iterator[None]:
    """Wait for the last checkpoint, explain trouble in one line, tell the callbacks.

    `trainer.outcome` is "interrupted" meanwhile, so that a kill leaves the right word. Raises
    RunError where the trouble has an explanation, else what was raised inside.
    """
    trainer.outcome = "interrupted"
    try:
        yield
        trainer.saver.wait()
    except Exception as error:
        from utils.explain import cause_of, explain  # few runs end so

        error = cause_of(error)
        reason = str(error) if isinstance(error, UserError) else explain(error)
        with suppress(RunError):
            trainer.saver.wait()
        status = getattr(error, "status", 1)
        if status <= 128:  # else a signal has asked for the end, here or in another process
            trainer.outcome = f"failed: {reason or repr(error)}"
        what = f"epoch {trainer.epoch}, step {trainer.step}: {reason or 'an error'}"
        last = trainer.checkpoint_dir / LAST_NAME
        how = f"Go on with: python train.py -r {last}" if last.exists() else "No checkpoint yet."
        is_shown = not distributed.is_first_to_say(what)
        trainer.logger.error("%s. %s", what, how, extra={"is_shown": is_shown})
        if reason is None:
            raise  # the code's own: its traceback says more
        raise RunError(reason, status, is_shown=True) from error
    finally:
        for callback in trainer.callbacks:
            with as_warning(trainer.logger, f"{type(callback).__name__}.on_train_end"):
                callback.on_train_end(trainer, trainer.outcome)
        trainer.writer.close()
