"""Weights & Biases and MLflow beside TensorBoard, for `trainer.trackers` in the config.

Their own settings say where they send to, such as WANDB_MODE=offline, WANDB_PROJECT or
MLFLOW_TRACKING_URI. A resumed run goes on in the same run of the tracker: trackers.json in the run
directory has its id. A tracker that fails is left out from then on, with a warning.
"""

import os
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import uuid4

import numpy as np
from torch import nn

from base import BaseTrainer, Callback
from parse_config import ConfigParser
from utils import distributed
from utils.check import flat
from utils.errors import UserError, as_warning, in_one_line
from utils.files import read_json, write_json

KEY = "trainer.trackers"

COMPLETE = ("finished", "stopped early")  # of the ways in which a run ends
LONGEST_NAME, LONGEST_VALUE = 250, 500  # that every MLflow takes


class Trackers(Callback):
    """Lets the trackers in the config have what TensorBoard has."""

    def __init__(self) -> None:
        self.trackers: list[Tracker] = []

    def on_model_built(self, model: nn.Module, config: ConfigParser) -> None:
        for name in config.settings.trainer.trackers:
            if find_spec(name) is None:
                raise UserError(f"trainer.trackers: {name} is not installed (pip install {name})")

    def on_setup(self, trainer: BaseTrainer) -> None:
        names = trainer.config.settings.trainer.trackers if distributed.is_main() else []
        self.trackers = [TRACKERS[name](trainer.config) for name in names]
        writer: Any = trainer.writer
        logger = trainer.logger  # the trainer itself would be kept by its own writer
        vars(writer).pop("add", None)  # of an earlier call of `train`
        add = writer.add

        def add_to_all(method: str, *args: Any, **kwargs: Any) -> None:
            add(method, *args, **kwargs)
            for tracker in [*self.trackers]:
                try:
                    getattr(tracker, method)(*args, step=writer.step, **kwargs)
                except Exception as error:  # of somebody's server, say: no reason to end a run
                    self.trackers.remove(tracker)
                    name, reason = type(tracker).__name__, in_one_line(error)
                    logger.warning("%s gets no more values: %s", name, reason)

        writer.add = add_to_all

    def on_train_end(self, trainer: BaseTrainer, outcome: str) -> None:
        while self.trackers:
            tracker = self.trackers.pop()
            with as_warning(trainer.logger, f"{type(tracker).__name__} has no end of the run"):
                tracker.end(outcome)


class Tracker:
    """What of SummaryWriter's methods a tracker has nothing for is left out.

    The tracker's own run begins with the first value, when all that could be wrong was looked at.
    """

    name: str

    def __init__(self, config: ConfigParser) -> None:
        self.config = config
        self.run_dir = config.save_dir
        self.ids = self.run_dir / "trackers.json"

    def known_id(self) -> str | None:
        """The id of the tracker's own run, where an earlier process has begun it."""
        return read_json(self.ids).get(self.name) if self.ids.exists() else None

    def remember_id(self, run_id: str) -> None:
        known = read_json(self.ids) if self.ids.exists() else {}
        write_json(known | {self.name: run_id}, self.ids)

    def end(self, outcome: str) -> None:
        """End the tracker's own run, if it has begun: `outcome` is how ours has ended."""

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        raise NotImplementedError

    def add_scalars(self, tag: str, values: dict[str, float], step: int) -> None:
        for name, value in values.items():
            self.add_scalar(f"{tag}/{name}", value, step)

    def add_image(self, tag: str, image: Any, step: int, dataformats: str = "CHW") -> None:
        pass

    def add_figure(self, tag: str, figure: Any, step: int, close: bool = True) -> None:
        pass

    def add_histogram(self, tag: str, values: Any, step: int, **kwargs: Any) -> None:
        pass

    def add_nothing(self, *args: Any, **kwargs: Any) -> None:
        pass

    add_text = add_images = add_audio = add_embedding = add_pr_curve = add_nothing


class Wandb(Tracker):
    name = "wandb"

    @cached_property
    def run(self) -> Any:
        import wandb

        run_id = self.known_id() or uuid4().hex[:8]
        self.remember_id(run_id)
        run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", self.config["name"]),
            name=self.run_dir.name,
            id=run_id,
            resume="allow",
            dir=self.run_dir,
            config=self.config.config,
            settings=wandb.Settings(console="off"),  # train.log has it
        )
        run.define_metric("*", step_metric="step")
        return run

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.run.log({tag: value, "step": step})

    def add_image(self, tag: str, image: Any, step: int, dataformats: str = "CHW") -> None:
        import wandb

        self.run.log({tag: wandb.Image(in_rows(image, dataformats)), "step": step})

    def add_figure(self, tag: str, figure: Any, step: int, close: bool = True) -> None:
        import wandb

        self.run.log({tag: wandb.Image(figure), "step": step})

    def add_histogram(self, tag: str, values: Any, step: int, **kwargs: Any) -> None:
        import wandb

        self.run.log({tag: wandb.Histogram(values), "step": step})

    def end(self, outcome: str) -> None:
        if "run" in vars(self):
            self.run.finish(exit_code=int(outcome not in COMPLETE))


class MLflow(Tracker):
    name = "mlflow"

    @cached_property
    def client(self) -> Any:
        from mlflow import MlflowClient

        saved = self.run_dir.parent.parent
        uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{saved / 'mlflow.db'}")
        return MlflowClient(tracking_uri=uri)

    @cached_property
    def run_id(self) -> str:
        run_id = self.known_id()
        if run_id is not None:
            self.client.update_run(run_id, status="RUNNING")
            return run_id
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", self.config["name"])
        run = self.client.create_run(self._experiment(name), run_name=self.run_dir.name)
        run_id = run.info.run_id
        self.remember_id(run_id)
        parameters = {legal(key): value for key, value in flat(self.config.config).items()}
        for key, value in parameters.items():
            self.client.log_param(run_id, key, str(value)[:LONGEST_VALUE])
        return run_id

    def _experiment(self, name: str) -> str:
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        in_file, place = "sqlite:///", None
        if (uri := self.client.tracking_uri).startswith(in_file):
            # MLflow itself would put the pictures into the current directory, not beside that file
            place = Path(uri.removeprefix(in_file)).absolute().with_name("mlflow_files").as_uri()
        return self.client.create_experiment(name, place)

    def add_scalar(self, tag: str, value: float, step: int) -> None:
        self.client.log_metric(self.run_id, legal(tag), float(value), step=step)

    def add_image(self, tag: str, image: Any, step: int, dataformats: str = "CHW") -> None:
        image = in_rows(image, dataformats)
        self.client.log_image(self.run_id, image, f"{legal(tag)}/{step:08}.png")

    def add_figure(self, tag: str, figure: Any, step: int, close: bool = True) -> None:
        self.client.log_figure(self.run_id, figure, f"{legal(tag)}/{step:08}.png")

    def end(self, outcome: str) -> None:
        if "run_id" in vars(self):
            broken_off = "KILLED" if outcome == "interrupted" else "FAILED"
            status = "FINISHED" if outcome in COMPLETE else broken_off
            self.client.set_terminated(self.run_id, status)


def in_rows(image: Any, dataformats: str) -> np.ndarray:
    """The image as an array of (height, width, channels)."""
    return np.asarray(image) if dataformats == "HWC" else np.moveaxis(np.asarray(image), 0, -1)


def legal(name: str) -> str:
    """A name as MLflow takes it: of letters, digits and some marks, and as a path in short form."""
    letters = "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in name)
    parts = [part for part in PurePosixPath(letters).parts if part not in ("/", "//", "..")]
    return "/".join(parts)[:LONGEST_NAME].rstrip("/") or "_"


TRACKERS: dict[str, type[Tracker]] = {"wandb": Wandb, "mlflow": MLflow}
