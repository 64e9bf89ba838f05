"""Callbacks: when each of their methods is called, and what these may do."""

import os
import re
import signal

import pytest
import torch

from base import Callback
from test import main as evaluate
from train import build_trainer
from utils import UserError, resume
from utils.errors import RunError

HOOKS = [name for name in vars(Callback) if name.startswith("on_") and name != "on_check"]


class Noting(Callback):
    """Notes what it is told, and how far training is then."""

    def __init__(self, notes, name=""):
        self.notes, self.name = notes, name

    def note(self, hook, *details):
        self.notes.append((hook + self.name, *details))

    def on_model_built(self, model, config):
        self.note("model_built", type(model).__name__, config["name"])

    def on_setup(self, trainer):
        self.note("setup", trainer.start_epoch, trainer.step)

    def on_checkpoint_load(self, trainer, state):
        self.note("checkpoint_load", state["epoch"], trainer.step)
        state["step"] += 100

    def on_train_start(self, trainer):
        self.note("train_start", trainer.start_epoch, trainer.step)

    def on_epoch_end(self, trainer, log):
        trainer.saver.wait()
        is_saved = (trainer.checkpoint_dir / f"checkpoint-epoch{log['epoch']}.pth").exists()
        self.note("epoch_end", log["epoch"], "val_loss" in log, is_saved)

    def on_train_end(self, trainer, outcome):
        self.note("train_end", outcome)

    def on_test_start(self, trainer):
        assert len(trainer.data_loader.dataset) == 297
        self.note("test_start")


@pytest.fixture
def callbacks(monkeypatch):
    """Those that take the place of the files in tools/: a list to fill."""
    found = []
    monkeypatch.setattr("utils.extras.load_callbacks", lambda: found)
    return found


def test_the_order_of_the_hooks(make_config, callbacks):
    assert HOOKS == [
        "on_data_built",
        "on_model_built",
        "on_setup",
        "on_checkpoint_load",
        "on_train_start",
        "on_epoch_end",
        "on_error",
        "on_train_end",
        "on_test_start",
    ]
    notes = []
    callbacks += [Noting(notes), Noting(notes, " too")]
    first = build_trainer(make_config({"trainer.epochs": 1}))
    first.train()
    expected = [
        ("model_built", "DigitsModel", "Digits"),
        ("setup", 1, 0),
        ("train_start", 1, 0),
        ("epoch_end", 1, True, True),
        ("train_end", "finished"),
    ]
    both = [(hook + name, *rest) for hook, *rest in expected for name in ("", " too")]
    assert notes == both

    del notes[:], callbacks[1:]
    last = first.checkpoint_dir / "last.pth"
    build_trainer(make_config(resume=last)).train()
    assert notes[1:4] == [("setup", 1, 0), ("checkpoint_load", 1, 0), ("train_start", 2, 104)]
    assert notes[4:] == [("epoch_end", 2, True, True), ("train_end", "finished")]

    notes.clear()
    evaluate(["-r", str(last), "-d", "cpu"])
    assert notes == [("test_start",)]


def test_a_callback_that_the_user_appends_is_called(make_trainer):
    notes, trainer = [], make_trainer({"trainer.epochs": 1})
    trainer.callbacks.append(Noting(notes))
    trainer.train()
    assert [hook for hook, *_ in notes] == ["setup", "train_start", "epoch_end", "train_end"]


class Refusing(Callback):
    """Raises an error, with files of its own in the run directory."""

    def __init__(self, hook, error):
        setattr(self, hook, self.refuse)
        self.error = error

    def refuse(self, trainer, *_):
        (trainer.checkpoint_dir / "of_the_callback.txt").write_text("")
        raise self.error


@pytest.mark.parametrize("hook", ["on_setup", "on_train_start"])
@pytest.mark.parametrize("error", [UserError("not like this"), ZeroDivisionError("a bug")])
def test_an_error_before_the_first_epoch_refuses_the_run_and_leaves_no_folder(
    make_trainer, tmp_path, hook, error
):
    """Also where the callbacks of tools/, and TensorBoard, have written files before."""
    trainer = make_trainer({"trainer.tensorboard": True})
    trainer.callbacks.append(Refusing(hook, error))
    with pytest.raises(type(error), match=str(error)):
        trainer.train()
    assert trainer.step == 0 and not any(tmp_path.iterdir())


def test_a_refused_resume_leaves_the_run_as_it_was(make_config):
    first = build_trainer(make_config())
    first.train()
    (first.checkpoint_dir / "config.json").unlink()
    before = {path.name for path in first.checkpoint_dir.iterdir()}
    changes = {"trainer.epochs": 3}
    again = build_trainer(make_config(changes, resume=first.checkpoint_dir / "last.pth"))
    again.callbacks.append(Refusing("on_train_start", UserError("not like this")))
    with pytest.raises(UserError, match="not like this"):
        again.train()
    written = {path.name for path in first.checkpoint_dir.iterdir()}
    assert before | {"of_the_callback.txt"} <= written  # nothing is deleted there


def test_a_run_directory_that_was_there_before_is_never_emptied(make_config, tmp_path):
    """With the name "" the folder of all runs is that of the run."""
    other = tmp_path / "saved" / "Digits" / "notes.txt"
    other.parent.mkdir(parents=True)
    other.write_text("mine")
    trainer = build_trainer(make_config(run_id=""))
    assert trainer.checkpoint_dir == other.parent
    trainer.callbacks.append(Refusing("on_train_start", UserError("not like this")))
    with pytest.raises(UserError, match="not like this"):
        trainer.train()
    assert other.read_text() == "mine"


def signal_in(step):
    def step_and_signal(batch):
        os.kill(os.getpid(), signal.SIGTERM)
        return step(batch)

    return step_and_signal


def raise_in(error):
    def fail(batch):
        raise error

    return fail


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        (lambda trainer: None, "finished"),
        (lambda trainer: setattr(trainer, "early_stop", 0), "stopped early"),
        (
            lambda trainer: setattr(trainer, "train_step", signal_in(trainer.train_step)),
            "interrupted",
        ),
        (
            lambda trainer: setattr(trainer, "train_step", raise_in(MemoryError())),
            "failed: out of memory: take a smaller batch_size",
        ),
        (
            lambda trainer: setattr(trainer, "train_step", raise_in(KeyError("x"))),
            "failed: trainer/trainer.py: KeyError: 'x'",
        ),
    ],
    ids=["finished", "stopped", "signal", "explained", "bug"],
)
def test_the_outcome_is_told_once_whatever_it_is(make_trainer, change, outcome):
    notes, trainer = [], make_trainer()
    trainer.callbacks.append(Noting(notes))
    change(trainer)
    try:
        trainer.train()
    except (RunError, KeyError):
        pass
    [[_, told]] = [note for note in notes if note[0] == "train_end"]
    assert re.sub(r"py:\d+", "py", told) == outcome
    assert notes[-1][0] == "train_end"


def test_parts_of_the_trainer_may_be_exchanged_at_its_setup(make_config):
    """Such as what saves and loads: the checkpoint that a run goes on from comes from it, too."""

    class Saver:
        def __init__(self, saver):
            self.saver, self.wait, self.calls = saver, saver.wait, []

        def save(self, state, *paths, then=None):
            self.calls.append(("save", *(path.name for path in paths)))
            self.saver.save(state, *paths, then=then)

        def load(self, path):
            self.calls.append(("load", path.name))
            return resume.load(path)

    class Exchange(Callback):
        def on_setup(self, trainer):
            trainer.saver = self.saver = Saver(trainer.saver)

    first = build_trainer(make_config({"trainer.epochs": 1}))
    first.train()
    again = build_trainer(make_config(resume=first.checkpoint_dir / "last.pth"))
    again.callbacks.append(exchange := Exchange())
    again.train()
    names = ["model_best.pth", "checkpoint-epoch2.pth", "last.pth"]
    assert exchange.saver.calls == [("load", "last.pth"), ("save", *names)]


def test_a_checkpoint_may_be_edited_before_it_is_taken_up(make_config):
    class Forget(Callback):
        def on_checkpoint_load(self, trainer, state):
            state["state_dict"]["fc2.bias"] = torch.full((10,), 7.0)

        def on_train_start(self, trainer):
            self.bias = trainer.model.fc2.bias.clone()

    first = build_trainer(make_config({"trainer.epochs": 1}))
    first.train()
    again = build_trainer(make_config(resume=first.checkpoint_dir / "last.pth"))
    again.callbacks.append(forget := Forget())
    again.train()
    assert forget.bias.eq(7).all()


def test_a_test_may_be_refused_in_one_line(make_config, callbacks, capsys):
    trainer = build_trainer(make_config({"trainer.epochs": 1}))
    trainer.train()

    class Strict(Callback):
        def on_test_start(self, trainer):
            raise UserError("not like this")

    callbacks.append(Strict())
    capsys.readouterr()
    with pytest.raises(SystemExit, match="2"):
        evaluate(["-r", str(trainer.checkpoint_dir / "last.pth"), "-d", "cpu"])
    out, err = capsys.readouterr()
    assert err == "not like this\n" and "accuracy" not in out
