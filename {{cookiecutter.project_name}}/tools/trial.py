"""A training of a sweep, in a process of its own: an ordinary run that the sweep gives its name.

It goes on from its newest checkpoint, where there is one. With a pruner, it tells the study the
monitored value of each epoch, and ends where the pruner says so.
"""

import multiprocessing
import os
import shutil
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from base.callback import Callback as Base
from parse_config import ConfigParser
from runs import Run
from tools.record import other_process
from utils import distributed
from utils.errors import RunError, UserError, in_one_line
from utils.files import PROJECT_DIR, read_json, write_json
from utils.resume import newest_intact
from utils.run_dir import MARK_NAME, is_run

PRUNED = 192  # the exit status; above those of signals, so that the run has not failed
ORPHAN = 60  # seconds that the process of a killed sweep has to save and end


def start(spec: dict[str, Any]) -> None:
    """Train in this new process, or with several that torchrun starts; ends when the sweep dies."""
    log = os.open(spec["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(spec["env"])
    threading.Thread(target=end_with_parent, daemon=True).start()
    if spec["processes"] == 1:
        return run(spec)
    from torch.distributed import run as torchrun

    path = Path(spec["log"]).with_suffix(".json")
    write_json(spec, path)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT_DIR), *sys.path])
    torchrun.main(
        ["--standalone", f"--nproc-per-node={spec['processes']}", "-m", "tools.trial", str(path)]
    )


def end_with_parent() -> None:
    """A sweep that is killed leaves nothing behind that still trains."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def run(spec: dict[str, Any]) -> None:
    """Train; why it failed goes to a file, in one line."""
    error_file = Path(spec["log"]).with_suffix(".error")
    try:
        with distributed.process_group():
            train(spec)
    except UserError as error:
        print(error, file=sys.stderr)
        if error.status <= 128:
            error_file.write_text(in_one_line(error), encoding="utf-8")
        sys.exit(error.status)
    except Exception as error:
        traceback.print_exc()
        error_file.write_text(in_one_line(error), encoding="utf-8")
        sys.exit(1)


def train(spec: dict[str, Any]) -> None:
    """Begin the run, or go on with it."""
    from train import build_trainer

    def parse(checkpoint: Path | None) -> ConfigParser:
        return ConfigParser(
            spec["config"], checkpoint, run_id=spec["run_id"], source=spec["run_id"]
        )

    config = parse(None)
    checkpoint = distributed.on_main(lambda: prepare(config))
    if checkpoint is not None:
        config = parse(checkpoint)
    else:
        mark = config.save_dir / MARK_NAME
        distributed.on_main(mark.touch)  # first of all, so that a kill leaves no riddle
    trainer = build_trainer(config)
    if spec["report"] is not None:
        trainer.callbacks.append(Reporter(**spec["report"]))
    trainer.train()


def prepare(config: ConfigParser) -> Path | None:
    """The checkpoint to go on from; without one, what was left of the run is removed.

    Raises UserError where another process trains the run.
    """
    assert config.run_id is not None
    folder = config.runs_dir / config.run_id
    for _ in range(ORPHAN * 10):
        if (pid := other_process(folder)) is None:
            break
        time.sleep(0.1)
    else:
        raise UserError(f"{folder}: process {pid} is training this run")
    checkpoint = newest_intact(folder) if is_run(folder) else None
    if checkpoint is None and folder.exists():
        if is_run(folder):
            shutil.rmtree(folder)
        else:
            folder.rmdir()  # killed before it was marked; else an error, for it is not ours
    return checkpoint


class Reporter(Base):  # by another name than Callback, or each training would have one
    """Tells the study the monitored value of each epoch, and ends the run where it is pruned."""

    def __init__(
        self,
        storage: str,
        study: str,
        trial_id: int,
        pruner: dict[str, Any],
        first_step: int,
        before: list[float],
    ) -> None:
        """`before` are the values of this trial's earlier runs, with other seeds or folds."""
        self.trial_id, self.first_step, self.before = trial_id, first_step, before
        if distributed.is_main():
            import optuna

            from tools.study import build_pruner, open_storage

            optuna.logging.set_verbosity(optuna.logging.ERROR)
            self.storage = open_storage(storage)
            self.study = optuna.load_study(
                study_name=study, storage=self.storage, pruner=build_pruner(pruner)
            )

    def on_train_start(self, trainer: Any) -> None:
        """Tell what a process that was killed may not have told."""
        if trainer.config.resume is not None and trainer.start_epoch > 1:
            for row in distributed.broadcast(Run(trainer.checkpoint_dir).rows):
                if row["epoch"] < trainer.start_epoch:
                    self.on_epoch_end(trainer, row)

    def on_epoch_end(self, trainer: Any, log: dict[str, Any]) -> None:
        epoch, value = int(log["epoch"]), float(log[trainer.mnt_metric])
        if distributed.on_main(lambda: self.is_pruned(epoch, value)):
            trainer.outcome = "pruned"
            raise RunError(f"pruned after epoch {epoch}", PRUNED)

    def is_pruned(self, epoch: int, value: float) -> bool:
        """Report the value that the trial would have now; whether it is worth no more."""
        step = self.first_step + epoch
        told = self.storage.get_trial(self.trial_id).intermediate_values
        if step not in told:
            values = [*self.before, value]
            value = sum(values) / len(values)
            self.storage.set_trial_intermediate_value(self.trial_id, step, value)
        elif step < max(told):
            return False  # it went on from here
        if self.study.pruner.prune(self.study, self.storage.get_trial(self.trial_id)):
            self.storage.set_trial_user_attr(self.trial_id, "pruned", step)
            return True
        return False


if __name__ == "__main__":
    run(read_json(sys.argv[1]))
