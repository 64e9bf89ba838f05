"""Weights & Biases offline and MLflow with SQLite, for real: what they have is what the run has."""

import csv
import json
import logging
import os
import signal
import struct
import sys
from time import monotonic, sleep

import numpy as np
import pytest
import torch

from base import BaseTrainer
from parse_config import ConfigParser
from tools.check import check
from tools.trackers import TRACKERS, Tracker, legal
from utils import UserError
from utils.errors import RunError
from utils.files import read_json

slow = pytest.mark.slow
PICTURE = np.zeros((8, 8, 3), np.uint8)


class Scripted(BaseTrainer):
    """Gives a value that is told by its epoch, and a picture; `fault` is what happens then."""

    def __init__(self, config, fault=lambda: None):
        self.fault = fault
        model = torch.nn.Linear(1, 1)
        super().__init__(model, None, [], torch.optim.SGD(model.parameters(), 0.1), config)

    def _train_epoch(self, epoch):
        self.step += 10
        self.writer.set_step(self.step, "valid")
        self.writer.add_image("a picture", PICTURE, dataformats="HWC")
        self.writer.add_histogram("weights", self.model.weight.detach())
        self.writer.add_text("ignored", "by these")
        self.fault()
        return {"loss": 1 / epoch, "val_loss": float("nan") if epoch == 2 else 2 / epoch}


@pytest.fixture
def train_and_resume(make_config):
    """Two epochs, then a resumed run to the fourth; its directory."""

    def train(tracker):
        changes = {"trainer.trackers": [tracker], "trainer.save_every.steps": 1}
        first = Scripted(make_config(changes | {"trainer.epochs": 2}))
        first.train()
        run_dir = first.checkpoint_dir
        changes["trainer.epochs"] = 4
        Scripted(make_config(changes, resume=run_dir / "last.pth")).train()
        return run_dir

    return train


def assert_same_as_metrics_csv(run_dir, values):
    """`values`: {(tag, step): value}."""
    with open(run_dir / "metrics.csv", newline="") as file:
        for row in csv.DictReader(file):
            step = 10 * int(row["epoch"])
            for tag, column in (("loss/train_epoch", "loss"), ("loss/valid", "val_loss")):
                found = values[tag, step]
                assert found == pytest.approx(float(row[column]), nan_ok=True), (tag, step)
    assert step == 40


@slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_offline(train_and_resume, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run_dir = train_and_resume("wandb")
    run_id = json.loads((run_dir / "trackers.json").read_text())["wandb"]
    files = sorted(run_dir.glob("wandb/offline-run-*/*.wandb"))
    assert len(files) == 2 and {file.name for file in files} == {f"run-{run_id}.wandb"}
    values, settings, ends = read_wandb(files)
    assert_same_as_metrics_csv(run_dir, values)
    assert {("a picture/valid/_type", 40), ("weights/_type", 40)} <= set(values)
    assert settings["optimizer"]["args"]["lr"] == 0.002 and ends == [0, 0]


def read_wandb(files):
    """What is in the files of one offline run: values by tag and step, its config, its ends.

    Another process writes them, perhaps still after the end of the run.
    """
    deadline = monotonic() + 20
    while True:
        found = read_what_is_there(files)
        if len(found[-1]) == len(files) or monotonic() > deadline:
            return found
        sleep(0.1)


def read_what_is_there(files):
    from wandb.proto.wandb_internal_pb2 import Record

    values, settings, ends = {}, {}, []
    for record in (Record.FromString(one) for path in files for one in records_of(path)):
        history = {
            item.key or "/".join(item.nested_key): json.loads(item.value_json)
            for item in record.history.item
        }
        values |= {(tag, history.get("step")): value for tag, value in history.items()}
        for item in record.run.config.update:
            settings[item.key] = json.loads(item.value_json)
        ends += [record.exit.exit_code] * record.HasField("exit")
    return values, settings, ends


def records_of(path):
    """A .wandb file is a LevelDB log: records in blocks of 32 KiB, 7 bytes before each piece."""
    content, place, record = path.read_bytes(), 7, b""
    while place + 7 <= len(content):
        size, kind = struct.unpack_from("<HB", content, place + 4)
        room = 32768 - place % 32768
        if room < 7 or kind == 0:  # the rest of the block is empty
            place += room
            continue
        record += content[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):  # all of a record, or the end of one
            yield record
            record = b""


@slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_with_sqlite(train_and_resume, monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    run_dir = train_and_resume("mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'saved' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(run_dir.parent.name)
    [run] = client.search_runs([experiment.experiment_id])
    assert run.info.run_id == json.loads((run_dir / "trackers.json").read_text())["mlflow"]
    assert (run.info.run_name, run.info.status) == (run_dir.name, "FINISHED")
    assert run.data.params["optimizer.args.lr"] == "0.002"
    values = {
        (tag, one.step): one.value
        for tag in run.data.metrics
        for one in client.get_metric_history(run.info.run_id, tag)
    }
    assert_same_as_metrics_csv(run_dir, values)
    pictures = client.list_artifacts(run.info.run_id, "a picture/valid")
    assert [one.path[-12:] for one in pictures] == [f"{n:08}.png" for n in (10, 20, 30, 40)]
    assert {path.name for path in tmp_path.iterdir()} == {"saved"}
    assert logging.getLogger("trainer").isEnabledFor(logging.INFO)
    assert "epoch   4" in (run_dir / "train.log").read_text()


def stop():
    os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture(params=[(lambda: 1 / 0, "FAILED"), (stop, "KILLED")], ids=["failed", "stopped"])
def break_off(request, make_config):
    """A run of that tracker that did not come to its end, and how MLflow calls that."""

    def train(tracker):
        fault, status = request.param
        trainer = Scripted(make_config({"trainer.trackers": [tracker]}), fault)
        with pytest.raises((ZeroDivisionError, RunError)):
            trainer.train()
        return trainer.checkpoint_dir, status

    return train


@slow
@pytest.mark.filterwarnings("ignore")
def test_wandb_is_told_of_a_bad_end(break_off, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    run_dir, _ = break_off("wandb")
    [file] = run_dir.glob("wandb/offline-run-*/*.wandb")
    *_, ends = read_wandb([file])
    assert ends == [1]


@slow
@pytest.mark.filterwarnings("ignore")
def test_mlflow_is_told_of_a_bad_end(break_off, monkeypatch, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.chdir(tmp_path)
    run_dir, status = break_off("mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'saved' / 'mlflow.db'}")
    run_id = json.loads((run_dir / "trackers.json").read_text())["mlflow"]
    assert client.get_run(run_id).info.status == status


class Recording(Tracker):
    """Notes where the trackers would send a value."""

    name = "recording"

    def add_scalar(self, tag, value, step):
        self.config.seen.append([os.environ[key] for key in ("WANDB_MODE", "MLFLOW_TRACKING_URI")])


@pytest.fixture
def make_watched(make_trainer, monkeypatch):
    """A trainer with such a tracker, and the list of what it notes, where others are set online."""
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere.invalid")
    monkeypatch.setitem(TRACKERS, "mlflow", Recording)

    def make(changes):
        trainer = make_trainer({"trainer.trackers": ["mlflow"], "trainer.epochs": 1} | changes)
        trainer.config.seen = []
        return trainer, trainer.config.seen

    return make


def test_a_check_sends_nothing_whatever_the_run_directory(make_watched):
    """As that of a migrated project, whose own code has put the trainer together."""
    trainer, seen = make_watched({})
    check(trainer)
    kept = ["offline", f"sqlite:///{trainer.checkpoint_dir / 'mlflow.db'}"]
    assert seen and all(one == kept for one in seen)


def test_a_run_in_a_folder_that_is_called_like_that_of_a_check_sends(make_watched, tmp_path):
    trainer, seen = make_watched({"trainer.save_dir": str(tmp_path / ".check-1" / "saved")})
    trainer.train()
    assert seen and all(one == ["online", "http://nowhere.invalid"] for one in seen)


@slow
@pytest.mark.filterwarnings("ignore")
def test_a_check_with_mlflow_writes_into_the_run_directory_alone(
    make_config, monkeypatch, tmp_path
):
    pytest.importorskip("mlflow")
    pytest.importorskip("sqlalchemy")
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://nowhere.invalid")
    monkeypatch.chdir(tmp_path)
    trainer = Scripted(make_config({"trainer.trackers": ["mlflow"]}))
    trainer.data_loader = []  # of which a check takes a few
    check(trainer)
    run_dir = trainer.checkpoint_dir
    assert (run_dir / "mlflow.db").exists() and [*run_dir.glob("mlflow_files/**/*.png")]
    assert not [
        path
        for path in tmp_path.rglob("*")
        if "mlflow" in path.name and run_dir not in path.parents
    ]


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_there_is_one_line(make_trainer, monkeypatch, tmp_path, name):
    monkeypatch.setitem(sys.modules, name, None)
    line = rf"trainer.trackers: {name} is not installed \(pip install {name}\)"
    with pytest.raises(UserError, match=line):
        make_trainer({"trainer.trackers": [name]})
    assert not any(tmp_path.iterdir())


class Failing(Tracker):
    """Takes `n` values; the next one fails."""

    name, n = "failing", 9

    def add_scalar(self, tag, value, step):
        self.n -= 1
        if self.n < 0:
            raise ConnectionError("server is away\nsince noon")

    def end(self, outcome):
        raise ConnectionError(f"no place for {outcome!r}")


@pytest.mark.parametrize(
    ("n", "line"),
    [
        (3, "Failing gets no more values: ConnectionError: server is away"),
        (9, "Failing has no end of the run: ConnectionError: no place for 'finished'"),
    ],
)
def test_a_tracker_that_fails_ends_no_run(make_config, monkeypatch, caplog, n, line):
    monkeypatch.setattr(Failing, "n", n)
    monkeypatch.setitem(TRACKERS, "mlflow", Failing)
    trainer = Scripted(make_config({"trainer.trackers": ["mlflow"], "trainer.monitor": "off"}))
    assert trainer.train()["epoch"] == 2
    assert read_json(trainer.checkpoint_dir / "environment.json")[-1]["how"] == "finished"
    assert [one.message for one in caplog.records if one.levelname == "WARNING"] == [line]


def test_each_call_of_train_has_its_trackers_once(make_config, monkeypatch):
    monkeypatch.setitem(TRACKERS, "mlflow", Failing)
    trainer, seen = Scripted(make_config({"trainer.trackers": ["mlflow"]})), []
    [callback] = [one for one in trainer.callbacks if type(one).__name__ == "Trackers"]
    trainer.fault = lambda: seen.append(len(callback.trackers))
    trainer.train()
    trainer.epochs += 1
    trainer.train()
    assert seen == [1, 1, 1] and callback.trackers == []


def test_the_names_of_others_are_made_legal():
    names = {
        "optimizer.groups.*.bias.lr": "optimizer.groups._.bias.lr",
        "/a//b/../c d/": "a/b/c d",
        "..": "_",
        "größe (m²)": "größe _m²_",
        "x" * 300: "x" * 250,
    }
    assert {name: legal(name) for name in names} == names
    validation = pytest.importorskip("mlflow.utils.validation")
    for name in names.values():
        validation._validate_param(name, "")


def test_an_unknown_tracker_is_named():
    with pytest.raises(UserError, match='trainer.trackers.* "wandb" or "mlflow"'):
        ConfigParser({"trainer": {"trackers": ["wanb"]}})
