"""What a run shows while it trains: bars, lines, curves and pictures."""

import csv
import io
import logging
import os
import re
import struct
import sys
from math import isnan
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from logger import TensorboardWriter, log_epoch
from parse_config import ConfigParser
from test import load
from tools.drawing import contact_sheet, to_bytes
from tools.pictures import Pictures, image_batches, worst_mistakes, write_histograms
from train import CommandLine, build_trainer
from trainer.trainer import Trainer
from utils.files import PROJECT_DIR

SHORT = ["trainer.len_epoch=12", "trainer.epochs=2", "trainer.log_step=1"]
SHORT += ["trainer.tensorboard=false", "trainer.report=false", "-d", "cpu"]


def run_in_terminal(*args, columns=200):
    """Run a script in a terminal of its own; what the terminal got."""
    pty, fcntl, termios = (pytest.importorskip(name) for name in ("pty", "fcntl", "termios"))
    process, terminal = pty.fork()
    if process == 0:
        always = os.environ | {"TQDM_MININTERVAL": "0"}  # else a fast machine shows few bars
        os.execve(sys.executable, [sys.executable, "-W", "error", *map(str, args)], always)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    got = b""
    try:
        while data := os.read(terminal, 4096):
            got += data
    except OSError:  # so Linux says that the other end is closed
        pass
    os.close(terminal)
    _, status = os.waitpid(process, 0)
    assert status == 0, got.decode()
    return got.decode()


# train.py with the parts in digits_example.py
EXAMPLE = """
import sys
sys.path[:0] = sys.argv[1:3]
import digits_example, train
digits_example.install(setattr)
train.main(["-c", str(digits_example.CONFIG), *sys.argv[3:]])
"""


def test_a_terminal_shows_bars_which_messages_do_not_tear(tmp_path):
    explosion = ["trainer.non_finite=skip", "optimizer.args.lr=1e30"]  # gives messages in between
    args = [f"trainer.save_dir={tmp_path}", *SHORT, *explosion]
    got = run_in_terminal("-c", EXAMPLE, PROJECT_DIR, Path(__file__).parent, *args)
    bars = re.findall(r"epoch \d/2 [^\r]*█[^\r]* (\d+)/12, ([^\r]*)", got)
    values = re.compile(r".*lr \S+  [\d,.]+ batches/s(  \d:\d\d:\d\d left)? *")
    assert bars and not [words for _, words in bars if not values.fullmatch(words)]
    # A terminal shows of each line what was written after it went back to its beginning
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in got.split("\n")]
    assert [line for line in lines if re.fullmatch("step 2 skipped, number 2", line)]
    assert len([line for line in lines if re.match(r"epoch   [12]  .*val_loss ", line)]) == 2
    assert not [line for line in lines if "█" in line or "batch" in line]
    log = next(tmp_path.glob("*/*/train.log")).read_text(encoding="utf-8")
    assert "█" not in log and "\r" not in log and log.count("batches/s") == 24


@pytest.mark.parametrize(("verbosity", "progress", "epochs"), [(0, 0, 0), (1, 0, 2), (2, 20, 2)])
def test_a_pipe_gets_a_line_every_few_batches(make_trainer, capsys, verbosity, progress, epochs):
    changes = {"trainer.len_epoch": 20, "trainer.log_step": 2, "trainer.verbosity": verbosity}
    make_trainer(changes).train()
    out = capsys.readouterr().out
    assert "\r" not in out and "█" not in out
    lines = re.findall(r"^epoch +\d  batch (\d+)/20  loss .* lr .* batches/s", out, re.M)
    assert lines == [str(batch) for batch in range(2, 21, 2)] * (progress // 10)
    assert len(re.findall(r"^epoch +\d  loss .* val_loss ", out, re.M)) == epochs


@pytest.mark.parametrize("verbosity", [0, 1, 2])
def test_bars_are_for_those_who_want_to_see_all(make_trainer, monkeypatch, capsys, verbosity):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    make_trainer({"trainer.verbosity": verbosity, "trainer.epochs": 1}).train()
    assert ("epoch 1/1" in capsys.readouterr().out) == (verbosity == 2)


def test_lines_of_epochs_are_aligned_whatever_the_values(make_trainer, capsys):
    trainer = make_trainer()
    for values in ((1.0, 0.5), (-1.234567e-05, 123456.7)):
        log = {"epoch": 1, "loss": values[0], "val_loss": values[1], "lr": 0.1}
        log_epoch(trainer, log, is_best=True)
    first, second = capsys.readouterr().out.splitlines()
    assert first.index("val_loss") == second.index("val_loss")
    assert first.endswith("* best")


@pytest.fixture
def events():
    """The event files of a run, read back."""
    module = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    def read(run_dir):
        found = module.EventAccumulator(str(run_dir), size_guidance={"scalars": 0, "images": 0})
        return found.Reload()

    return read


def test_numbers_for_tensorboard_wait_and_keep_their_steps(tmp_path, events, monkeypatch, caplog):
    writer = TensorboardWriter(tmp_path, logging.getLogger(), True)
    for step, value in enumerate((1.0, torch.tensor(2.0), np.float32(3))):
        writer.set_step(step)
        writer.add_scalar("a", value)
    writer.add_scalar("b", torch.zeros(2))
    assert caplog.messages[0].startswith("TensorBoard has no 'b/train': ")
    assert not events(tmp_path).Tags()["scalars"]
    monkeypatch.setattr("logger.visualization.SECONDS", 0)
    writer.add_scalar("a", 4.0)  # what waits is handed over now
    found = [(one.step, one.value) for one in events(tmp_path).Scalars("a/train")]
    assert found == [(0, 1), (1, 2), (2, 3), (2, 4)]
    writer.add_text("c", "text")
    writer.close()


def rows_of(trainer):
    with open(trainer.checkpoint_dir / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_table_that_cannot_be_written_is_a_warning(make_trainer, caplog):
    trainer = make_trainer()
    (trainer.checkpoint_dir / "metrics.csv").mkdir()
    assert trainer.train()["epoch"] == 2
    assert caplog.text.count("metrics.csv is not written: IsADirectoryError") == 2


def test_event_files_of_a_resumed_run_hold_what_metrics_csv_says(make_trainer, events):
    changes = {"trainer.tensorboard": True, "trainer.log_step": 1, "trainer.epochs": 3}
    first = make_trainer(changes)
    first.train()
    # TensorBoard goes by the second in the name, which may be that of the resumed run, too
    [file] = first.checkpoint_dir.glob("events.*")
    file.rename(re.sub(r"(?<=tfevents\.)\d+", lambda match: str(int(match[0]) - 1), str(file)))
    resume = first.checkpoint_dir / "checkpoint-epoch1.pth"
    changes["optimizer.args.lr"] = 0.02  # so that what comes is not what was
    resumed = make_trainer(changes, resume=resume)
    resumed.train()
    found, rows = events(first.checkpoint_dir), rows_of(resumed)
    names = ("loss", "accuracy", "top_k_acc")
    columns = {f"{name}/valid": f"val_{name}" for name in names}
    columns |= {f"{name}/train_epoch": name for name in (*names, "lr")}
    for tag, column in columns.items():
        expected = [(4 * int(row["epoch"]), float(row[column])) for row in rows]
        written = [(event.step, event.value) for event in found.Scalars(tag)]
        assert written == [(step, pytest.approx(value)) for step, value in expected], tag
    assert [event.step for event in found.Scalars("loss/train")] == list(range(1, 13))


def test_values_are_written_before_a_checkpoint(make_trainer, events):
    """What a killed run has shown up to there, the resumed one will not show again."""
    trainer = make_trainer({"trainer.tensorboard": True})
    trainer.writer.flush()  # of nothing yet
    for step in range(1, 6):
        trainer.writer.set_step(step)
        trainer.writer.add_scalar("loss", 1 / step)
    trainer._save(0, ["last.pth"])
    scalars = events(trainer.checkpoint_dir).Scalars("loss/train")
    assert [event.step for event in scalars] == [1, 2, 3, 4, 5]
    trainer.saver.wait()
    trainer.writer.close()


def test_tensorboard_gets_pictures_the_config_and_hyperparameters(make_trainer, events):
    pytest.importorskip("tensorboard")
    from PIL import Image
    from tensorboard.plugins.hparams import plugin_data_pb2

    trainer = make_trainer({"trainer.tensorboard": True, "trainer.len_epoch": 2})
    trainer.train()
    found = events(trainer.checkpoint_dir)
    assert [image.step for image in found.Images("inputs/valid")] == [2]
    mistakes = found.Images("wrong predictions/valid")
    assert [image.step for image in mistakes] == [2, 4]
    Image.open(io.BytesIO(mistakes[0].encoded_image_string)).verify()
    assert (
        b'"type": "DigitsModel"'
        in found.Tensors("config/text_summary")[0].tensor_proto.string_val[0]
    )

    stored = found.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    start = plugin_data_pb2.HParamsPluginData.FromString(stored).session_start_info
    assert start.hparams["optimizer.args.lr"].number_value == 0.002
    assert start.hparams["loss"].string_value == "cross_entropy"
    stored = found.summary_metadata["_hparams_/experiment"].plugin_data.content
    experiment = plugin_data_pb2.HParamsPluginData.FromString(stored).experiment
    tags = {info.name.tag for info in experiment.metric_infos}
    assert (
        tags == {"loss/valid", "accuracy/valid", "top_k_acc/valid"} <= set(found.Tags()["scalars"])
    )


def test_histograms_come_when_asked_for(make_trainer, events):
    pytest.importorskip("tensorboard")
    changes = {"trainer.tensorboard": True, "trainer.len_epoch": 1, "trainer.epochs": 1}
    plain = make_trainer(changes)
    plain.train()
    assert not events(plain.checkpoint_dir).Tags()["histograms"]
    asked = make_trainer(changes | {"trainer.histograms": True})
    asked.train()
    found = events(asked.checkpoint_dir)
    assert {"weights/fc2.bias", "gradients/fc2.bias"} <= set(found.Tags()["histograms"])
    assert found.Histograms("weights/fc2.bias")[0].histogram_value.num == 10


def test_values_that_are_not_numbers_do_no_harm(make_trainer, events):
    pytest.importorskip("tensorboard")
    changes = {"trainer.tensorboard": True, "trainer.non_finite": "ignore"}
    changes |= {"optimizer.args.lr": 1e30, "trainer.histograms": True}
    trainer = make_trainer(changes)
    trainer.train()
    values = [event.value for event in events(trainer.checkpoint_dir).Scalars("loss/valid")]
    assert len(values) == 2 and all(map(isnan, values))
    trainer.model.fc2.bias.data[:] = torch.tensor([float("nan")] * 9 + [1.0])
    write_histograms(trainer.writer, trainer.model)


def test_looking_leaves_the_training_as_it_was(make_config):
    """The loader is PyTorch's own, which draws a seed from the global random state."""

    def weights(callbacks):
        plain = build_trainer(make_config({"trainer.tensorboard": True, "trainer.len_epoch": 3}))
        images = torch.randn(24, 1, 8, 8, generator=torch.Generator().manual_seed(0))
        loader = DataLoader(TensorDataset(images, torch.arange(24) % 10), 8)
        parts = (plain.model, plain.criterion, plain.metric_ftns, plain.optimizer, plain.config)
        trainer = Trainer(*parts, "cpu", loader, loader)
        trainer.callbacks = callbacks
        trainer.train()
        return torch.cat([p.flatten() for p in trainer.model.parameters()])

    assert torch.equal(weights([]), weights([Pictures()]))


def test_the_worst_mistakes_come_first():
    logits = torch.tensor([[0.0, 0.0, 9.0], [2.0, 0.0, 1.0], [9.0, 0.0, 0.0]])
    classes = torch.tensor([2, 2, 1])  # right, nearly right, quite wrong
    images = torch.arange(3.0).reshape(3, 1, 1, 1).expand(3, 1, 2, 2)
    model = nn.Sequential()
    model.forward = lambda x: logits[x[:, 0, 0, 0].long()]
    trainer = SimpleNamespace(model=model, device="cpu", criterion=None)
    trainer.config = {"task": "multiclass"}
    found = worst_mistakes(trainer, [(images, classes)])
    assert [(image[0, 0, 0].item(), words) for image, words in found] == [
        (2, "predicted 0, true 1,\nprobability 0.0 %"),
        (1, "predicted 0, true 2,\nprobability 24.5 %"),
    ]
    trainer.config = {"task": None}
    assert worst_mistakes(trainer, [(images, classes)]) == []
    assert model.training


@pytest.mark.parametrize("channels", [1, 3])
def test_a_contact_sheet_has_every_image(channels):
    images = torch.rand(5, channels, 32, 16)
    sheet = contact_sheet(images, [str(number) for number in range(5)])
    assert sheet.size == (3 * (64 + 4), 2 * (128 + 4 + 28))
    assert sheet.getextrema() == ((0, 255),) * 3
    assert to_bytes(torch.full((channels, 4, 4), 7.0)).shape == (4, 4, 3)


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(1, 8, 8), 0)] * 4)


@pytest.mark.parametrize(
    "data",
    [
        None,
        [1, 2],
        DataLoader(Stream()),
        DataLoader(TensorDataset(torch.zeros(4, 3), torch.zeros(4, dtype=torch.long))),
        DataLoader(TensorDataset(torch.zeros(4, 1, 8, 8), torch.zeros(4))),
        DataLoader(TensorDataset(torch.zeros(4, 1, 8, 8))),
    ],
)
def test_only_images_with_classes_are_shown(data):
    assert image_batches(data) == []


def test_images_are_taken_from_all_over_the_data():
    labels = torch.arange(1000)
    loader = DataLoader(TensorDataset(torch.zeros(1000, 1, 8, 8), labels), batch_size=50)
    seen = torch.cat([classes for _, classes in image_batches(loader)])
    assert len(seen) == 150 and seen.sort().values[[0, -1]].tolist() == [0, 993]
    assert seen[:50].max() > 900  # as much in each batch
    large = DataLoader(TensorDataset(torch.zeros(96, 3, 400, 400), labels[:96]), batch_size=32)
    assert len(image_batches(large)) == 1


def test_a_model_that_takes_something_else_than_images_is_left_alone(make_trainer):
    pytest.importorskip("tensorboard")
    trainer = make_trainer({"trainer.tensorboard": True, "trainer.epochs": 1})
    trainer.model.forward = lambda x, noise: None
    pictures = Pictures()
    pictures.on_epoch_end(trainer, {"val_loss": 1.0})
    assert pictures.batches == []
    trainer.writer.close()


def test_pictures_that_fail_are_one_warning(make_trainer, monkeypatch, caplog):
    pytest.importorskip("tensorboard")
    monkeypatch.setattr("tools.pictures.write_config", lambda *_: 1 / 0)
    make_trainer({"trainer.tensorboard": True, "trainer.epochs": 2}).train()
    assert caplog.text.count("no more pictures: ZeroDivisionError: division by zero") == 1


class Showing(Trainer):
    """As docs/watching.md says it."""

    def valid_step(self, batch):
        data, target = batch
        output = self.model(data)
        if (self.writer.step, self.writer.mode) != (self.step, "valid"):  # the first batch
            self.writer.set_step(self.step, "valid")
            self.writer.add_images("of validation", data[:16])
        return {"loss": self.criterion(output, target), **self.measure(output, target)}


def test_pictures_of_the_first_batch_of_each_validation(make_trainer, events, monkeypatch):
    monkeypatch.setattr("trainer.Trainer", Showing)
    monkeypatch.setattr("tools.predictions.Trainer", Showing)
    trainer = make_trainer({"trainer.tensorboard": True, "trainer.report": True})
    trainer.train()
    assert len(trainer.valid_data_loader) > 1
    found = events(trainer.checkpoint_dir).Images("of validation/valid")
    assert [event.step for event in found] == [4, 8]
    before = sorted(path.name for path in trainer.checkpoint_dir.iterdir())
    last = str(trainer.checkpoint_dir / "last.pth")
    config = ConfigParser.from_args(CommandLine(None), argv=["-r", last], to_train=False)
    tester, _ = load(config)
    tester.evaluate(tester.data_loader)
    assert sorted(path.name for path in trainer.checkpoint_dir.iterdir()) == before


def test_lines_within_an_epoch_have_metrics_that_collect(make_trainer, events, capsys):
    pytest.importorskip("torchmetrics")
    changes = {"trainer.tensorboard": True, "trainer.log_step": 1, "trainer.epochs": 1}
    trainer = make_trainer(changes | {"metrics": ["f1", "confusion_matrix"]})
    log = trainer.train()
    lines = re.findall(r"batch \d/4  loss \S+  f1 (\S+)  lr", capsys.readouterr().out)
    found = [event.value for event in events(trainer.checkpoint_dir).Scalars("f1/train")]
    assert len(lines) == len(found) == 4 and [f"{value:.4g}" for value in found] == lines
    assert found[-1] == pytest.approx(log["f1"])  # of the epoch so far
