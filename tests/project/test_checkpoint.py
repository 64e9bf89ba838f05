import argparse
import os
import re
import shutil
from collections import Counter, OrderedDict, defaultdict
from enum import Enum, IntEnum
from pathlib import Path
from threading import Barrier

import numpy as np
import pytest
import torch

from digits_example import CONFIG, DigitsModel
from helpers import succeed
from model import model
from parse_config import ConfigParser
from runs import find_runs
from test import main as evaluate
from tools import background
from tools.background import BackgroundSaver
from train import build_trainer, main
from utils import UserError, checkpoint, resume
from utils.errors import RunError
from utils.files import PROJECT_DIR, read_json, write_json
from utils.resume import newest_intact
from utils.run_dir import MARK_NAME, mark, remove_old


def same(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


PARTS = ["state_dict", "optimizer", "lr_scheduler", "random", "step", "epoch", "monitor_best"]


def test_a_resumed_run_ends_bit_for_bit_as_one_that_was_not_touched(make_config):
    straight = build_trainer(make_config({"trainer.epochs": 4, "trainer.keep_last": None}))
    straight.train()
    stopped = build_trainer(make_config({"trainer.epochs": 2}))
    stopped.train()
    torch.rand(7), np.random.rand(7)  # a new process has other random states
    last = stopped.checkpoint_dir / "checkpoint-epoch2.pth"
    resumed = build_trainer(make_config({"trainer.epochs": 4}, resume=last))
    resumed.train()

    assert resumed.checkpoint_dir == stopped.checkpoint_dir != straight.checkpoint_dir
    ends = [resume.load(t.checkpoint_dir / "checkpoint-epoch4.pth") for t in (straight, resumed)]
    for part in [*PARTS, "not_improved_count"]:
        assert same(ends[0][part], ends[1][part]), part
    tables = [(t.checkpoint_dir / "metrics.csv").read_text() for t in (straight, resumed)]
    assert tables[0] == tables[1]


def resumed(make_config, first, changes, epoch=2):
    last = first.checkpoint_dir / f"checkpoint-epoch{epoch}.pth"
    return build_trainer(make_config({"trainer.epochs": 3} | changes, resume=last))


def test_a_changed_learning_rate_or_schedule_is_honoured_on_resume(make_config, capsys):
    changes = {"optimizer": {"type": "SGD", "args": {"lr": 0.1, "momentum": 0.5}}}
    changes |= {"lr_scheduler": {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.5}}}
    first = build_trainer(make_config(changes))
    first.train()
    changes |= {"optimizer.args.lr": 1.0, "optimizer.args.momentum": 0.9}
    again = resumed(make_config, first, changes | {"lr_scheduler.args.gamma": 0.1})
    log = again.train()
    assert log["lr"] == pytest.approx(1.0 * 0.1**2)  # as if it had always been so
    group = again.optimizer.param_groups[0]
    assert group["momentum"] == 0.9 and group["lr"] == pytest.approx(0.1**3)
    assert "optimizer.args.lr: 0.1 -> 1.0 from step 8 on" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"arch.args.num_classes": 11}, "does not fit DigitsModel: size mismatch for fc2.weight"),
        (
            {"optimizer": {"type": "SGD", "args": {"lr": 0.1}}},
            "optimizer.type: Adam -> SGD: for that, start a new run",
        ),
        ({"optimizer.args.betas": [0.5, 0.9]}, "betas: cannot be changed in the middle of a run"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused(make_config, changes, expected):
    first = build_trainer(make_config())
    first.train()
    before = {path.name for path in first.checkpoint_dir.iterdir()}
    with pytest.raises(UserError, match=expected):
        resumed(make_config, first, changes).train()
    assert {path.name for path in first.checkpoint_dir.iterdir()} == before


class PartlyFrozen(DigitsModel):
    def __init__(self, frozen=()):
        super().__init__()
        for name in frozen:
            self.get_submodule(name).requires_grad_(False)


def test_another_choice_of_what_is_trained_is_refused_on_resume(make_config, monkeypatch):
    monkeypatch.setattr(model, "PartlyFrozen", PartlyFrozen, raising=False)
    arch = {"type": "PartlyFrozen", "args": {"frozen": ["conv1"]}}
    first = build_trainer(make_config({"arch": arch}))
    first.train()
    with pytest.raises(
        UserError, match="epoch2.pth: its optimizer does not fit: .*parameter group"
    ):
        resumed(make_config, first, {"arch": arch | {"args": {}}}).train()


@pytest.mark.parametrize(("changes", "lr"), [({}, 0.002), ({"optimizer.args.lr": 0.1}, 0.1)])
def test_a_schedule_that_was_at_its_end_can_be_made_longer(make_config, changes, lr):
    """As docs/faults.md says: more epochs, and a cosine that is as long."""
    first = build_trainer(make_config({"lr_scheduler.args.T_max": 2}))
    first.train()
    assert first.optimizer.param_groups[0]["lr"] == 0
    again = resumed(make_config, first, changes | {"lr_scheduler.args.T_max": 4})
    assert again.train()["lr"] == pytest.approx(lr / 2)


def test_lines_on_what_changed_are_in_the_log_of_the_run(make_config):
    """Of the config, and of the number of processes."""
    first = build_trainer(make_config())
    first.train()
    last = first.checkpoint_dir / "checkpoint-epoch2.pth"
    state = resume.load(last)
    state["ranks"] = [{"random": state["random"], "train_metrics": None}]
    checkpoint.save(state, last)
    resumed(make_config, first, {"optimizer.args.lr": 0.1}).train()
    log = (first.checkpoint_dir / "train.log").read_text()
    assert "optimizer.args.lr: 0.002 -> 0.1 from step 8 on" in log
    assert "processes: 2 -> 1 from step 8 on" in log
    assert f"Resuming after epoch 2, step 8 of {last}\n" in log


def test_another_monitor_begins_its_own_search(make_config):
    first = build_trainer(make_config())
    first.train()
    again = resumed(make_config, first, {"trainer.monitor": "max val_accuracy"})
    assert 0 < again.train()["val_accuracy"] == again.mnt_best


def test_going_on_from_an_earlier_epoch_keeps_the_new_checkpoints(make_config):
    first = build_trainer(make_config({"trainer.epochs": 6, "trainer.keep_last": 2}))
    first.train()
    last = first.checkpoint_dir / "early.pth"
    (first.checkpoint_dir / "model_best.pth").replace(last)
    state = torch.load(last, weights_only=True)
    torch.save(state | {"epoch": 1}, last)
    changes = {"trainer.epochs": 3, "trainer.keep_last": 2}
    build_trainer(make_config(changes, resume=last)).train()
    names = {path.name for path in first.checkpoint_dir.glob("checkpoint-*")}
    assert names == {"checkpoint-epoch2.pth", "checkpoint-epoch3.pth"}


def test_a_failed_resume_does_not_change_the_run(make_config):
    first = build_trainer(make_config())
    first.train()
    last = first.checkpoint_dir / "last.pth"
    config = ConfigParser.from_args(
        argparse.ArgumentParser(), argv=["-r", str(last), "loss=mse_loss"]
    )
    with pytest.raises((RuntimeError, UserWarning)):  # the shapes do not fit
        config.settings.trainer.epochs = 3
        build_trainer(config).train()
    config = ConfigParser.from_args(argparse.ArgumentParser(), argv=["-r", str(last)])
    assert config["loss"] == "cross_entropy"


def test_a_finished_run_says_so(make_config, capsys):
    first = build_trainer(make_config())
    first.train()
    assert resumed(make_config, first, {"trainer.epochs": 2}).train() == {}
    assert "All 2 epochs are done; set trainer.epochs for more." in capsys.readouterr().out


def test_resuming_from_an_earlier_epoch_drops_the_rows_after_it(make_config):
    first = build_trainer(make_config({"trainer.epochs": 3}))
    first.train()
    table = (first.checkpoint_dir / "metrics.csv").read_text()
    last = first.checkpoint_dir / "checkpoint-epoch1.pth"
    build_trainer(make_config({"trainer.epochs": 3}, resume=last)).train()
    assert (first.checkpoint_dir / "metrics.csv").read_text() == table


def test_early_stopping_goes_on_counting_after_a_resume(make_config):
    changes = {"trainer.monitor": "max loss", "trainer.early_stop": 3, "trainer.epochs": 2}
    first = build_trainer(make_config(changes))
    first.train()  # the loss falls: epoch 1 stays the best
    last = first.checkpoint_dir / "checkpoint-epoch2.pth"
    again = build_trainer(make_config(changes | {"trainer.epochs": 9}, resume=last))
    assert again.train()["epoch"] == 4
    over = again.checkpoint_dir / "checkpoint-epoch4.pth"
    assert build_trainer(make_config(changes | {"trainer.epochs": 9}, resume=over)).train() == {}


def test_a_checkpoint_is_read_with_weights_only_and_names_its_model(make_trainer):
    trainer = make_trainer()
    trainer.train()
    for file in trainer.checkpoint_dir.glob("*.pth"):
        state = torch.load(file, weights_only=True)
        assert state["arch"] == type(trainer.model).__name__
        assert state["config"] == trainer.config.config and type(state["config"]) is dict


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "checkpoint.pth"
    checkpoint.save({"state_dict": {"weight": torch.ones(2)}, "best": np.float64(0.5)}, path)
    with pytest.raises(TypeError, match=r"checkpoint.optimizer\[0\].hook is a function"):
        checkpoint.save({"state_dict": {}, "optimizer": [{"hook": lambda: 0}]}, path)
    assert [one.name for one in tmp_path.iterdir()] == ["checkpoint.pth"]
    assert resume.load(path)["best"] == 0.5


class Colour(str, Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Marked(torch.Tensor):
    """A tensor of a kind of its own."""


PLAIN = [
    (Colour.RED, "red"),
    (Level.HIGH, 3),
    ({Level.HIGH: 1, Colour.RED: (Level.HIGH,)}, {3: 1, "red": (3,)}),
    (np.float32(0.5), 0.5),
    (np.int64(7), 7),
    (np.bool_(True), True),
    (np.str_("text"), "text"),
    (torch.ones(2).as_subclass(Marked), torch.ones(2)),
    (torch.nn.Parameter(torch.ones(2).as_subclass(Marked)), torch.ones(2)),
    ({np.int64(3): 1, "red": {np.int64(2): (np.int64(3),)}}, {3: 1, "red": {2: (3,)}}),
    (Counter({np.int64(1): -2, 2: 0}), Counter({1: -2, 2: 0})),
    (OrderedDict(b=np.int64(3), a=b"\xff\x00"), OrderedDict(b=3, a=b"\xff\x00")),
]


@pytest.mark.parametrize("in_background", [False, True])
@pytest.mark.parametrize(("value", "expected"), PLAIN, ids=lambda value: type(value).__name__)
def test_what_is_nearly_plain_is_written_so_that_it_can_be_read(
    tmp_path, value, expected, in_background
):
    path, state = tmp_path / "checkpoint.pth", {"state_dict": {"w": torch.ones(1)}, "it": [value]}
    if in_background:
        saver = BackgroundSaver()
        saver.save(state, path)
        saver.wait()
    else:
        checkpoint.save(state, path)
    [found] = resume.load(path)["it"]
    assert type(found) is type(expected) and same(found, expected)
    if isinstance(found, dict):
        assert all(type(a) is type(b) for a, b in zip(found, expected, strict=True))
        assert [*map(type, found.values())] == [*map(type, expected.values())]


def test_a_save_in_the_background_starts_no_thread(tmp_path, monkeypatch):
    """The death of a worker of the data loader would break in, and leave a traceback."""
    path, state = tmp_path / "checkpoint.pth", {"state_dict": {"w": torch.ones(1)}, "it": [1]}
    saver = BackgroundSaver()
    monkeypatch.delattr("threading.Thread.start")
    saver.save(state, path)
    saver.wait()
    assert torch.load(path, weights_only=True)["it"] == [1]


def test_where_threads_start_late_a_save_in_the_background_is_whole(tmp_path, monkeypatch):
    """On a machine with more to do than it can."""
    monkeypatch.setattr(background, "Barrier", lambda n, timeout: Barrier(n + 1, timeout=0.1))
    saver, path = BackgroundSaver(), tmp_path / "checkpoint.pth"
    saver.save({"state_dict": {"w": torch.ones(1)}}, path)
    saver.wait()
    assert torch.load(path, weights_only=True)["state_dict"]["w"] == 1


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (Path("runs"), r"checkpoint\.mine\.parts\[1\] is a (Posix|Windows)Path"),
        ({1, 2}, r"checkpoint\.mine\.parts\[1\] is a set"),
        (np.ones(2), r"checkpoint\.mine\.parts\[1\] is a ndarray"),
        (np.datetime64("2020-01-01"), r"checkpoint\.mine\.parts\[1\] is a date"),
        (torch.float32, r"checkpoint\.mine\.parts\[1\] is a dtype"),
        (defaultdict(int), r"checkpoint\.mine\.parts\[1\] is a defaultdict"),
        ({Path("a"): 1}, r"a key of checkpoint\.mine\.parts\[1\] is a (Posix|Windows)Path"),
    ],
    ids=str,
)
def test_what_no_checkpoint_can_hold_is_named_with_its_place(tmp_path, value, expected):
    state = {"state_dict": {"w": torch.ones(1)}, "mine": {"parts": [0, value]}}
    for save in (checkpoint.save, BackgroundSaver().save):
        with pytest.raises(TypeError, match=f"^{expected}: keep tensors and plain types only$"):
            save(state, tmp_path / "checkpoint.pth")
    assert not any(tmp_path.iterdir())


def test_what_torch_would_not_read_again_is_refused_before_it_gets_its_name(tmp_path):
    """A sparse tensor that is none: its index is out of bounds."""
    indices, path = torch.tensor([[0, 7]]), tmp_path / "last.pth"
    bad = torch.sparse_coo_tensor(indices, torch.ones(2), (3,), check_invariants=False)
    checkpoint.save({"state_dict": {"w": torch.ones(1)}}, path)
    before = path.read_bytes()
    torch.save({"state_dict": {"w": bad}}, tmp_path / "other.pth")
    with torch.sparse.check_sparse_tensor_invariants():
        with pytest.raises(RunError, match="last.pth: cannot be written: .* found index 7"):
            checkpoint.save({"state_dict": {"w": bad}}, path)
        with pytest.raises(UserError, match="other.pth: cannot be read: .* found index 7"):
            resume.load(tmp_path / "other.pth")
    assert path.read_bytes() == before and len([*tmp_path.iterdir()]) == 2


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('code was run')",)


def test_bad_files_are_one_clear_line_and_run_no_code(tmp_path):
    path = tmp_path / "bad.pth"
    torch.save({"state_dict": Evil()}, path)
    with pytest.raises(UserError, match="holds more than tensors and .* tools.convert "):
        resume.load(path)
    torch.save({"state_dict": {"w": torch.ones(1000)}}, path)
    path.write_bytes(path.read_bytes()[:-500])
    for content in (path.read_bytes(), b"", b"text"):
        path.write_bytes(content)
        with pytest.raises(UserError, match="bad.pth: "):
            resume.load(path)
    with pytest.raises(UserError, match="No such file"):
        resume.load(tmp_path / "none.pth")


@pytest.fixture
def train(example_parts, tmp_path):
    """train.py with short epochs; the directories of all runs, the oldest first."""

    def run(*args, config=CONFIG):
        short = ["trainer.len_epoch=2", "trainer.report=false", "trainer.tensorboard=false"]
        if config is not None:
            short = ["-c", str(config), f"trainer.save_dir={tmp_path / 'saved'}", *short]
        main([*short, "-d", "cpu", *map(str, args)])
        return sorted((tmp_path / "saved").glob("*/*"), key=lambda run: run.name)

    return run


def contents(folder):
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "train.log"]
    return {path: path.read_bytes() for path in files}


def test_only_in_a_marked_run_is_anything_overwritten_or_deleted(train, tmp_path, capsys):
    [first] = train("trainer.epochs=2")
    assert (first / MARK_NAME).exists()
    project = tmp_path / "saved" / first.parent.name / "my_project"  # also below save_dir
    project.mkdir()
    for name in ("config.json", "checkpoint-epoch1.pth", "checkpoint-epoch2.pth", "last.pth"):
        shutil.copy(first / name, project / name)
    before = contents(project)
    later = {"trainer.epochs": 3, "trainer.keep_last": 1}
    train("-r", project / "last.pth", *(f"{k}={v}" for k, v in later.items()), config=None)
    assert contents(project) == before
    line = "my_project/last.pth is in no run directory: its state goes on in a new run"
    assert line in capsys.readouterr().out
    runs = find_runs(tmp_path / "saved")
    assert len(runs) == 2 and project not in [run.path for run in runs]
    assert runs[1].epochs == 3
    remove_old(project, 1, epochs_done=2)
    assert contents(project) == before


def test_what_is_newest_does_not_depend_on_times_of_files(train, tmp_path):
    args = ["trainer.epochs=8", "trainer.keep_last=2", "trainer.save_every.steps=1"]
    train("trainer.epochs=1")
    *_, run_dir = train(*args)
    (run_dir / "checkpoint-epoch8.pth").rename(run_dir / "checkpoint-epoch10.pth")
    names = ["last.pth", "checkpoint-epoch10.pth", "checkpoint-epoch7.pth", "model_best.pth"]
    for age, name in enumerate(names):
        os.utime(run_dir / name, (1e9 + age, 1e9 + age))  # the newest is the oldest now
    for name in names:
        assert newest_intact(run_dir) == run_dir / name
        (run_dir / name).unlink()  # a link to another
        (run_dir / name).write_bytes(b"")
    assert newest_intact(run_dir) is None
    for n in (9, 10, 11):
        (run_dir / f"checkpoint-epoch{n}.pth").write_bytes(b"")
    (run_dir / "checkpoint-epoch5_mine.pth").write_bytes(b"")
    remove_old(run_dir, 2, epochs_done=10)
    left = {path.name for path in run_dir.glob("checkpoint-*")}
    assert left == {f"checkpoint-epoch{n}.pth" for n in ("9", "10", "5_mine")}


def test_auto_begins_a_new_run_where_the_last_one_is_over(train, capsys):
    for args in (["trainer.epochs=2"], ["trainer.early_stop=1", "optimizer.args.lr=0"]):
        *_, over = train("-r", "auto", *args)
        before = contents(over)
        assert "the last run is over" not in capsys.readouterr().out
        *_, new = train("-r", "auto", "trainer.epochs=3")
        assert f"the last run is over, a new one begins; -r {over}" in capsys.readouterr().out
        assert new != over and contents(over) == before
        shutil.rmtree(new)
        shutil.rmtree(over)


def test_auto_goes_on_with_no_older_run_than_the_last(train, capsys):
    [older] = train("trainer.epochs=4", "trainer.keep_last=null")
    interrupted(older)
    *_, killed = train("trainer.epochs=1")
    for path in killed.glob("*.pth"):
        path.unlink()
    mark(killed, outcome="")  # as after a kill before its first checkpoint
    before = contents(older)
    capsys.readouterr()
    *_, new = train("-r", "auto", "trainer.epochs=1")
    assert f"{killed} has no checkpoint: a new run begins" in capsys.readouterr().out
    assert new not in (older, killed) and contents(older) == before


def test_one_cycle_of_a_resumed_run_follows_its_new_length(make_trainer):
    def trainer(epochs, **kwargs):
        args = {"max_lr": 0.05, "total_steps": 3 * epochs}
        one_cycle = {"type": "OneCycleLR", "args": args, "interval": "step"}
        changes = {"lr_scheduler": one_cycle, "trainer.len_epoch": 3, "trainer.epochs": epochs}
        return make_trainer(changes, **kwargs)

    short, straight = trainer(2), trainer(4)
    short.train()
    straight.train()
    resumed = trainer(4, resume=short.checkpoint_dir / "checkpoint-epoch2.pth")
    resumed.train()
    rates = [one.optimizer.param_groups[0]["lr"] for one in (straight, resumed)]
    assert rates[0] == pytest.approx(rates[1])


def interrupted(run_dir):
    """As after a kill within its third epoch."""
    for name in ("last.pth", "checkpoint-epoch4.pth", "checkpoint-epoch3.pth", "model_best.pth"):
        (run_dir / name).unlink()
    mark(run_dir, outcome="interrupted")


def test_a_run_that_auto_goes_on_with_has_its_own_config(train, tmp_path):
    [run_dir] = train("trainer.epochs=4", "optimizer.args.lr=0.5", "trainer.keep_last=null")
    interrupted(run_dir)
    other = read_json(CONFIG)
    other["data_loader"]["args"]["batch_size"] = 16
    write_json(other, tmp_path / "other.json")
    args = ["-r", "auto", "loss.args.reduction=mean"]
    assert train(*args, config=tmp_path / "other.json") == [run_dir]
    config = read_json(run_dir / "config.json")
    assert config["trainer"]["epochs"] == 4 and config["optimizer"]["args"]["lr"] == 0.5
    own = read_json(CONFIG)["data_loader"]["args"]["batch_size"]
    assert config["data_loader"]["args"]["batch_size"] == own != 16


def test_each_change_is_in_the_log_with_its_step(train):
    [run_dir] = train("trainer.epochs=2", "optimizer.args.lr=0.5")
    train("-r", run_dir / "last.pth", "trainer.epochs=3", "optimizer.args.lr=0.02", config=None)
    assert read_json(run_dir / "config.json")["optimizer"]["args"]["lr"] == 0.02
    log = (run_dir / "train.log").read_text()
    assert "optimizer.args.lr: 0.5 -> 0.02 from step 4 on" in log
    assert "trainer.epochs: 2 -> 3 from step 4 on" in log
    train("-r", run_dir / "checkpoint-epoch1.pth", "trainer.epochs=2", config=None)  # back again
    assert read_json(run_dir / "config.json")["optimizer"]["args"]["lr"] == 0.5


def test_without_the_extra_another_optimizer_is_refused(make_trainer, monkeypatch):
    monkeypatch.setattr("utils.extras.load_callbacks", list)
    trainer = make_trainer({"trainer.epochs": 1})
    trainer.train()
    last = trainer.checkpoint_dir / "last.pth"
    with pytest.raises(
        UserError, match=r"^optimizer: differs from that of .*last\.pth: its change is in the full"
    ):
        make_trainer({"trainer.epochs": 2, "optimizer.args.lr": 0.5}, resume=last).train()
    make_trainer({"trainer.epochs": 2}, resume=last).train()


def test_a_config_file_replaces_that_of_the_checkpoint(train, tmp_path):
    schedule = 'lr_scheduler={"type": "StepLR", "args": {"step_size": 1}}'
    [run_dir] = train("trainer.epochs=1", schedule)
    config = read_json(CONFIG) | {"lr_scheduler": None}
    del config["lr_scheduler"]
    write_json(config, tmp_path / "plain.json")
    args = ["-r", run_dir / "last.pth", "trainer.epochs=2"]
    assert train(*args, config=tmp_path / "plain.json") == [run_dir]
    assert read_json(run_dir / "config.json")["lr_scheduler"] is None
    assert re.search("lr_scheduler: .* -> None from step", (run_dir / "train.log").read_text())


def test_a_folder_is_refused_with_the_name_of_a_checkpoint(train, capsys):
    *_, run_dir = train("trainer.epochs=1")
    for folder in (run_dir, run_dir.parent, run_dir.parents[1]):
        with pytest.raises(SystemExit, match="2"):
            train("-r", folder, config=None)
        line = f"{folder}: is a folder: name a checkpoint in it, such as last.pth of a run"
        assert capsys.readouterr().err == f"{line}\n"


def test_the_best_or_the_newest_checkpoint_is_found_for_a_test(train, capsys):
    *_, run_dir = train("trainer.epochs=2")
    where = ["-c", str(CONFIG), f"trainer.save_dir={run_dir.parents[1]}", "-d", "cpu"]
    for name, file in (("best", "model_best.pth"), ("auto", "last.pth")):
        capsys.readouterr()
        evaluate(["-r", name, *where])
        assert f"{run_dir / file}: epoch " in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        evaluate(["-r", "best", *where, "name=other"])
    assert "-r best: there is no such checkpoint in " in capsys.readouterr().err


def test_a_run_that_has_not_begun_leaves_nothing_and_no_folder_of_the_user_goes(
    make_config, train, tmp_path
):
    for folder in (tmp_path / "mine", tmp_path / "new" / "er"):
        (tmp_path / "mine").mkdir(exist_ok=True)
        train("--check", f"trainer.save_dir={folder}")
        config = make_config({"trainer.save_dir": str(folder)})
        assert config.save_dir.parents[1] == folder
        (config.save_dir / "of_a_callback.txt").touch()
        config.discard_run()
        assert [*tmp_path.iterdir()] == [tmp_path / "mine"]
        assert not any((tmp_path / "mine").iterdir())
    begun = make_config()
    begun.start_run()
    begun.discard_run()
    assert (begun.save_dir / "config.json").exists()


def test_a_folder_for_runs_that_is_a_link_to_nothing_is_named(make_config, tmp_path):
    link = tmp_path / "linked"
    link.symlink_to(tmp_path / "nowhere")
    config = make_config({"trainer.save_dir": str(link)})
    line = f"^trainer.save_dir: cannot make a run in {link}/Digits: {link} is a link to nothing$"
    with pytest.raises(UserError, match=line):
        _ = config.save_dir


def test_at_exit_a_folder_for_a_run_goes_where_it_is_empty_alone(tmp_path):
    code = "import sys; from parse_config import ConfigParser, default_config\n"
    code += "changes = {'trainer.save_dir': sys.argv[1]}\n"
    code += "config = ConfigParser.from_file(default_config(), changes, run_id=sys.argv[2])\n"
    code += "path = config.save_dir / sys.argv[3]; path.is_dir() or path.touch()\n"
    for run_id, file in (("mine", "of_a_loop_of_my_own.pth"), ("empty", ".")):
        succeed("-c", code, tmp_path / "saved", run_id, file, cwd=PROJECT_DIR)
    assert [path.name for path in tmp_path.glob("saved/*/*")] == ["mine"]
    assert (next(tmp_path.glob("saved/*/mine")) / "of_a_loop_of_my_own.pth").exists()


def test_a_second_name_that_cannot_be_given_leaves_the_first_as_it_is(tmp_path):
    path, taken = tmp_path / "last.pth", tmp_path / "model_best.pth"
    path.write_bytes(b"weights")
    taken.mkdir()
    with pytest.raises(OSError):
        checkpoint.link(path, taken)
    assert path.read_bytes() == b"weights"
