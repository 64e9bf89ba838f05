"""How a process of a sweep works: it takes trials one after another, and has them trained."""

import multiprocessing
import os
import signal
import threading
import time
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any

from runs import Run
from tools import trial as trial_process
from tools.from_data import OPEN
from tools.plan import Plan, Training, without_device
from tools.search import differences
from tools.study import BEAT, Study
from utils.errors import UserError
from utils.resume import OVER
from utils.run_dir import is_run, read_mark

POLL = 1  # seconds between two looks for a trial that others may leave
TRIES = 3  # in a row that end without a further epoch and without a word
PRELOADED = ["torch._dynamo", "matplotlib.figure", "optuna"]  # what takes seconds to import


class TrialFailed(Exception):
    """One line says why."""


class TrialLost(Exception):
    """The work has to stop, or another process has the trial now."""


class Work:
    """Called in a thread for each trial that is to run at a time, with the environment for it."""

    def __init__(
        self, plan: Plan, study: Study, folder: Path, storage: str, grace: float, processes: int
    ) -> None:
        self.plan, self.study, self.folder = plan, study, folder
        self.storage, self.grace, self.processes = storage, grace, processes
        self.stopping = threading.Event()
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self.context = new_context()

    def __call__(self, environment: dict[str, str]) -> None:
        """Work on trials until all are done."""
        while not self.stopping.is_set() and not self.study.is_over():
            if (trial := self.study.take(self.grace)) is None:
                self.stopping.wait(POLL)
                continue
            try:
                self.study.finish(trial, self.value_of(trial, environment))
            except TrialFailed as failure:
                self.study.leave(trial, str(failure))
            except TrialLost:
                if self.study.is_mine(trial._trial_id):
                    self.study.leave(trial)

    def value_of(self, trial: Any, environment: dict[str, str]) -> float | None:
        """The mean over the trainings of a trial; None where it was pruned."""
        values: list[float] = []
        trainings = self.plan.trainings(trial.number, trial.user_attrs.get("params", {}))
        for index, training in enumerate(trainings):
            key = f"run {training.run_id}"
            result = trial.user_attrs.get(key)
            if result is None:
                result = self.train(trial, training, index, values, environment)
                if result is None:
                    return None
                self.study.storage.set_trial_user_attr(trial._trial_id, key, result)
            values.append(result["value"])
        return fmean(values)

    def train(
        self, trial: Any, training: Training, index: int, before: list[float], environment: Any
    ) -> dict[str, Any] | None:
        """Train to the end, whatever dies meanwhile; None where the trial is pruned."""
        spec = {
            "config": training.config,
            "run_id": training.run_id,
            "log": str(self.folder / "logs" / f"{training.run_id}.log"),
            "env": environment,
            "processes": self.processes,
            "report": self.report_of(trial, index, before),
        }
        run_dir = self.plan.config.runs_dir / training.run_id
        error_file = Path(spec["log"]).with_suffix(".error")
        tries, epochs, status = 0, -1, 0
        while True:
            run = run_of(run_dir, training.config)
            if "pruned" in self.study.storage.get_trial(trial._trial_id).user_attrs:
                return None
            if run is not None and read_mark(run_dir).get("outcome") in OVER:
                return result_of(run, training)
            done = 0 if run is None else run.epochs
            tries, epochs = (tries + 1, epochs) if done <= epochs else (0, done)
            if tries == TRIES:
                raise TrialFailed(f"ended {TRIES} times with {describe(status)}, see {spec['log']}")
            error_file.unlink(missing_ok=True)
            status = self.watch(trial, spec)
            if error_file.exists():
                raise TrialFailed(error_file.read_text(encoding="utf-8"))

    def report_of(self, trial: Any, index: int, before: list[float]) -> dict[str, Any] | None:
        """What the training needs to tell the study of its epochs, where a pruner wants that."""
        search = self.plan.search
        if search is None or search.pruner is None:
            return None
        return {
            "storage": self.storage,
            "study": self.study.name,
            "trial_id": trial._trial_id,
            "pruner": asdict(search.pruner),
            "first_step": index * self.plan.config["trainer"]["epochs"],
            "before": before,
        }

    def watch(self, trial: Any, spec: dict[str, Any]) -> int:
        """Train in a process, and give signs of life meanwhile; its exit status.

        Raises TrialLost where the work is to stop, once the training has saved and ended.
        """
        process = self.context.Process(target=trial_process.start, args=(spec,))
        process.start()
        last, asked = time.monotonic(), False
        while process.is_alive():
            process.join(0.5)
            if self.stopping.is_set() and not asked:
                process.terminate()
                asked = True
            if time.monotonic() - last > BEAT:
                last = time.monotonic()
                if not self.study.is_mine(trial._trial_id):
                    process.kill()
                    process.join()
                    raise TrialLost
                self.study.own(trial._trial_id)
        if self.stopping.is_set() or not self.study.is_mine(trial._trial_id):
            raise TrialLost
        return process.exitcode or 0


def new_context() -> Any:
    """How training processes start: where it can be, as copies of one that has imported torch.

    It neither imports the project nor touches a GPU.
    """
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def run_of(run_dir: Path, config: dict[str, Any]) -> Run | None:
    """The run of a training, if it has begun. Raises TrialFailed where it is another's."""
    if not (is_run(run_dir) and (run_dir / "config.json").exists()):
        return None
    run = Run(run_dir)
    begun = without_device(run.config)
    for key, before, now in differences(begun, as_begun(without_device(config), begun)):
        text = f"{run_dir} is a run with {key} = {before!r}, not {now!r}: delete it, or give --name"
        raise TrialFailed(text)
    return run


def as_begun(config: Any, begun: Any) -> Any:
    """A config with what it leaves open as a run has it, which has found it in its data."""
    if isinstance(config, str) and OPEN.fullmatch(config):
        return begun
    if isinstance(config, str) and isinstance(begun, dict) and begun.get("type") == config:
        config = {"type": config, "args": {}}
    if isinstance(config, list) and isinstance(begun, list) and len(config) == len(begun):
        return [as_begun(*pair) for pair in zip(config, begun, strict=True)]
    if isinstance(config, dict) and isinstance(begun, dict):
        found = {key: begun[key] for key in ("task", "from_logits") if key in begun}  # of metrics
        return found | {key: as_begun(value, begun.get(key)) for key, value in config.items()}
    return config


def result_of(run: Run, training: Training) -> dict[str, Any]:
    """What the study keeps of a training. Raises TrialFailed where it has no value."""
    name = run.monitor
    if not run.best:
        raise TrialFailed(f"{name} was never a number")
    values = {"value": run.best[name], "epoch": int(run.best["epoch"]), "epochs": run.epochs}
    return {"run": training.run_id, "seed": training.seed, "fold": training.fold} | values


def describe(status: int) -> str:
    number = -status if status < 0 else status - 128
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"status {status}"


def environments(jobs: int, processes: int, device: str) -> list[dict[str, str]]:
    """What differs in the environment of each of the trials that run at a time: the GPUs.

    Raises UserError where there are too few.
    """
    import torch

    n = torch.cuda.device_count() if device in ("auto", "cuda") else 0
    if n == 0:
        if jobs > 1:  # else each would use all cores
            os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // jobs)))
        return [{}] * jobs
    if jobs * processes > n:
        each = "" if processes == 1 else f" with {processes} processes each"
        raise UserError(f"--jobs {jobs}: {n} GPUs are too few for so many trials{each}")
    names = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(n)))).split(",")
    chosen = [names[job * processes : (job + 1) * processes] for job in range(jobs)]
    return [{"CUDA_VISIBLE_DEVICES": ",".join(one)} for one in chosen]
