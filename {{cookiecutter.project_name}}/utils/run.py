"""How a training starts and ends: whatever happens, with words and with a complete checkpoint."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from utils import distributed, trainer_state
from utils.command_line import is_first_to_say
from utils.errors import RunError, UserError, as_warning
from utils.run_dir import LAST_NAME


def prepare(trainer: Any) -> None:
    """Take up a checkpoint, let the callbacks find mistakes, begin the logs."""
    try:
        parallel = trainer.config.settings.parallel
        trainer.model = distributed.wrap(trainer.model, trainer.device, parallel)
        for callback in trainer.callbacks:
            callback.on_setup(trainer)
        if trainer.config.resume is not None and trainer._epochs_done == 0:
            trainer._resume_checkpoint(trainer.config.resume)
        for callback in trainer.callbacks:
            callback.on_train_start(trainer)
        trainer_state.check(trainer)
    except Exception:
        trainer.config.discard_run(with_files=True)
        raise
    trainer.config.start_run()
    trainer.logger.info(
        "%s\nRun directory: %s", distributed.unwrap(trainer.model), trainer.checkpoint_dir
    )
    done = trainer.start_epoch + trainer._epochs_done - 1
    trainer.epoch_log.start(done + 1)
    if done >= trainer.epochs:
        trainer.logger.info("All %d epochs are done; set trainer.epochs for more.", done)


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
        trainer.logger.error("%s. %s", what, how, extra={"is_shown": not is_first_to_say(what)})
        if reason is None:
            raise  # the code's own: its traceback says more
        raise RunError(reason, status, is_shown=True) from error
    finally:
        for callback in trainer.callbacks:
            with as_warning(trainer.logger, f"{type(callback).__name__}.on_train_end"):
                callback.on_train_end(trainer, trainer.outcome)
        trainer.writer.close()
