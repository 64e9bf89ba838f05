"""Weights & Biases and MLflow beside TensorBoard, for `trainer.trackers` in the config.

Where they send to is theirs to be told, as by WANDB_MODE=offline, WANDB_PROJECT or
MLFLOW_TRACKING_URI. A resumed run goes on in the same run of the tracker: trackers.json in the run
directory has its id.
"""

import os
from functools import cached_property
from uuid import uuid4

import numpy as np

from tools.history import flat
from utils.files import read_json, write_json

COMPLETE = ("finished", "stopped early")  # of the ways in which a run ends


class Tracker:
    """What of SummaryWriter's methods a tracker has nothing for is left out.

    The tracker's own run begins with the first value, when all that could be wrong was looked at.
    """

    def __init__(self, config):
        self.config = config
        self.run_dir = config.save_dir
        self.ids = self.run_dir / "trackers.json"

    def known_id(self):
        return read_json(self.ids).get(self.name) if self.ids.exists() else None

    def remember_id(self, run_id):
        known = read_json(self.ids) if self.ids.exists() else {}
        write_json(known | {self.name: run_id}, self.ids)

    def end(self):
        """How the run ended, as environment.json says."""
        path = self.run_dir / "environment.json"
        return read_json(path)[-1].get("how", "interrupted") if path.exists() else "finished"

    def add_scalar(self, tag, value, step):
        raise NotImplementedError

    def add_scalars(self, tag, values, step):
        for name, value in values.items():
            self.add_scalar(f"{tag}/{name}", value, step)

    def add_image(self, tag, image, step, dataformats="CHW"):
        pass

    def add_figure(self, tag, figure, step, close=True):
        pass

    def add_histogram(self, tag, values, step, **kwargs):
        pass

    def add_text(self, tag, text, step):
        pass

    def add_images(self, *args, **kwargs):
        pass

    def add_audio(self, *args, **kwargs):
        pass

    def close(self):
        pass


class Wandb(Tracker):
    name = "wandb"

    @cached_property
    def run(self):
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

    def add_scalar(self, tag, value, step):
        self.run.log({tag: value, "step": step})

    def add_image(self, tag, image, step, dataformats="CHW"):
        import wandb

        self.run.log({tag: wandb.Image(in_rows(image, dataformats)), "step": step})

    def add_figure(self, tag, figure, step, close=True):
        import wandb

        self.run.log({tag: wandb.Image(figure), "step": step})

    def add_histogram(self, tag, values, step, **kwargs):
        import wandb

        self.run.log({tag: wandb.Histogram(values), "step": step})

    def close(self):
        if "run" in vars(self):
            self.run.finish(exit_code=int(self.end() not in COMPLETE))


class MLflow(Tracker):
    name = "mlflow"

    @cached_property
    def client(self):
        from mlflow import MlflowClient

        saved = self.run_dir.parent.parent
        uri = os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{saved / 'mlflow.db'}")
        return MlflowClient(tracking_uri=uri)

    @cached_property
    def run_id(self):
        run_id = self.known_id()
        if run_id is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", self.config["name"])
            run = self.client.create_run(self._experiment(name), run_name=self.run_dir.name)
            run_id = run.info.run_id
            self.remember_id(run_id)
            for name, value in flat(self.config.config).items():
                self.client.log_param(run_id, name, value)
        else:
            self.client.update_run(run_id, status="RUNNING")
        return run_id

    def _experiment(self, name):
        found = self.client.get_experiment_by_name(name)
        if found is not None:
            return found.experiment_id
        # MLflow itself would put the pictures into the current directory
        place = (self.run_dir.parent.parent / "mlflow_files").as_uri()
        is_local = self.client.tracking_uri.startswith("sqlite:")
        return self.client.create_experiment(name, place if is_local else None)

    def add_scalar(self, tag, value, step):
        self.client.log_metric(self.run_id, in_its_letters(tag), float(value), step=step)

    def add_image(self, tag, image, step, dataformats="CHW"):
        image = in_rows(image, dataformats)
        self.client.log_image(self.run_id, image, f"{in_its_letters(tag)}/{step:08}.png")

    def add_figure(self, tag, figure, step, close=True):
        self.client.log_figure(self.run_id, figure, f"{in_its_letters(tag)}/{step:08}.png")

    def close(self):
        if "run_id" in vars(self):
            broken_off = "KILLED" if self.end() == "interrupted" else "FAILED"
            status = "FINISHED" if self.end() in COMPLETE else broken_off
            self.client.set_terminated(self.run_id, status)


def in_rows(image, dataformats):
    """The image as an array of (height, width, channels)."""
    return np.asarray(image) if dataformats == "HWC" else np.moveaxis(np.asarray(image), 0, -1)


def in_its_letters(tag):
    """MLflow takes letters, digits and some marks."""
    return "".join(letter if letter.isalnum() or letter in "_-. /" else "_" for letter in tag)


TRACKERS = {"wandb": Wandb, "mlflow": MLflow}
