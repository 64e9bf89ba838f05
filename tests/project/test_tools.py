import gc
import json
import re
import subprocess
from collections import Counter
from importlib import import_module
from itertools import count
from time import monotonic

import pytest
import torch
from torch.utils.data import DataLoader

from base import Callback
from data_loader import data_loaders
from digits_example import CONFIG, DigitsDataLoader
from tools import verify_resume as proof
from tools.first_batches import FirstBatches
from tools.record import record_start
from tools.verify_resume import run as verify_resume
from tools.watchers import WATCHERS
from train import main
from trainer.trainer import Trainer
from utils import UserError, extras, resume
from utils.command_line import end_workers
from utils.extras import load_callbacks
from utils.files import PROJECT_DIR, read_json

OF_A_NEW_RUN = ["check", "find_lr", "fast_dev_run", "overfit_batches", "profile", "verify_resume"]


@pytest.fixture
def train(example_parts, tmp_path, capsys):
    """Run train.py's main with runs in tmp_path; its status, output and the new run directories."""

    def run(*argv):
        status = 0
        try:
            config = [] if {"-c", "-r"} & {*argv} else ["-c", str(CONFIG)]
            fixed = [f"trainer.save_dir={tmp_path / 'saved'}", "trainer.report=false"]
            main([*config, "-d", "cpu", *fixed, *argv])
        except SystemExit as stop:
            status = stop.code
        out, err = capsys.readouterr()
        return status, out + err, sorted((tmp_path / "saved").glob("*/*"))

    return run


def test_check_reports_and_leaves_nothing_behind(train, tmp_path):
    status, output, _ = train("--check", "trainer.tensorboard=true")
    assert status == 0 and output.endswith("All is well.\n")
    for line in ("float32 (64, 1, 8, 8), int64 (64,)", "val_accuracy"):
        assert line in output
    assert "MB, read back" in output and "for an epoch of 22 batches" in output
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("trainer.monitor=max val_acuracy", "did you mean 'val_accuracy'?"),
        ("trainer.monitor=max acuracy", "did you mean 'accuracy'?"),
        ("optimizer.args.lr=1e30", "the loss is nan"),
    ],
)
def test_check_finds_what_others_notice_after_an_epoch(train, tmp_path, override, expected):
    status, output, _ = train("--check", override)
    assert status in (1, 2) and expected in output and not any(tmp_path.iterdir())


def test_check_finds_a_step_that_learns_nothing(train, monkeypatch):
    monkeypatch.setattr(Trainer, "optimize", lambda self, loss: None)
    status, output, runs = train("--check", "lr_scheduler=null")
    assert status == 2 and "no step has changed a weight" in output and not runs


def test_check_saves_and_leaves_nothing_behind(train, monkeypatch, tmp_path):
    saved, save = [], Trainer._save
    monkeypatch.setattr(Trainer, "_save", lambda *args: (saved.append(args), save(*args)))
    args = ["trainer.save_every.steps=1", "trainer.log_step=1", "data_loader.args.num_workers=2"]
    status, output, _ = train("--check", "trainer.accumulate_steps=3", *args)
    assert status == 0 and output.endswith("All is well.\n") and not any(tmp_path.iterdir())
    assert saved


class Seen(Callback):
    """Leaves things behind at the start; refuses the run where it has a mistake to tell."""

    def __init__(self, mistake=None):
        self.mistake, self.moments, self.scalars = mistake, [], []

    def on_setup(self, trainer):
        self.moments.append("on_setup")
        trainer.writer.add = lambda *scalar, **_: self.scalars.append(scalar)

    def on_train_start(self, trainer):
        self.moments.append("on_train_start")
        (trainer.checkpoint_dir / "folder" / "inside").mkdir(parents=True)
        if self.mistake is not None:
            raise UserError(self.mistake)

    def on_epoch_end(self, trainer, log):
        self.moments.append("on_epoch_end")

    def on_train_end(self, trainer, outcome):
        self.moments.append("on_train_end")


@pytest.mark.parametrize("mistake", [None, "the tracker cannot be reached"])
def test_check_starts_each_callback(train, monkeypatch, tmp_path, mistake):
    seen = Seen(mistake)
    monkeypatch.setattr("utils.extras.load_callbacks", lambda: [seen])
    status, output, _ = train("--check", "trainer.log_step=1")
    assert seen.moments[:2] == ["on_setup", "on_train_start"]
    assert seen.moments[2:] == ([] if mistake else ["on_epoch_end", "on_train_end"])
    assert output.endswith("All is well.\n" if mistake is None else f"{mistake}\n")
    assert status == (0 if mistake is None else 2) and not any(tmp_path.iterdir())


def test_check_finds_a_state_that_no_checkpoint_can_hold(train, monkeypatch, tmp_path):
    class Stateful(Trainer):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            self.state["memory"] = self

        def state_dict(self):
            return {"now": self.config}

    monkeypatch.setattr("trainer.Trainer", Stateful)
    status, output, _ = train("--check")
    assert status == 2 and "checkpoint.memory.now is a ConfigParser" in output
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("flag", OF_A_NEW_RUN)
def test_what_starts_from_a_config_leaves_runs_alone(train, flag):
    _, _, [run_dir] = train("--fast-dev-run", "1")
    before = (run_dir / "last.pth").read_bytes()
    flag = f"--{flag.replace('_', '-')}"
    n = ["1"] if flag in ("--fast-dev-run", "--overfit-batches") else []
    status, output, [_] = train(flag, *n, "-r", str(run_dir / "last.pth"))
    assert status == 2 and f"{flag} starts from a config (-c)" in output
    assert (run_dir / "last.pth").read_bytes() == before


def test_what_is_for_one_process_says_so(make_config, monkeypatch, tmp_path):
    config = make_config()
    monkeypatch.setattr("utils.distributed.world_size", lambda: 2)
    for name in {name for name, text in extras.texts().items() if extras.FLAG.search(text)} - {
        "fast_dev_run",
        "overfit_batches",
    }:
        with pytest.raises(UserError, match=f"^--{name.replace('_', '-')} is for one process"):
            import_module(f"tools.{name}").run(config, "none")
    assert not any(tmp_path.iterdir())


def test_fast_dev_run_is_one_short_epoch_with_everything_else_real(train):
    status, _, [run_dir] = train("--fast-dev-run", "3")
    assert status == 0 and (run_dir / "checkpoint-epoch1.pth").exists()
    assert len((run_dir / "metrics.csv").read_text().splitlines()) == 2
    assert "batch 3/3" not in (run_dir / "train.log").read_text()
    assert resume.load(run_dir / "last.pth")["step"] == 3


def test_fast_dev_run_validates_on_as_many_batches(train, monkeypatch):
    n_seen, valid_step = Counter(), Trainer.valid_step

    def count(trainer, batch):
        n_seen.update(len(field) for field in batch)
        return valid_step(trainer, batch)

    monkeypatch.setattr(Trainer, "valid_step", count)
    status, _, _ = train("--fast-dev-run", "2")
    assert status == 0 and n_seen == {64: 2 * 2}
    train("--fast-dev-run", "99", "trainer.monitor=off")  # which is more than there are
    assert n_seen == {64: 2 * 2 + 2 * 2, 150 - 2 * 64: 2}


def test_overfitting_a_batch_learns_it_by_heart(train):
    args = ["trainer.epochs=40", "arch.args.dropout=0", "lr_scheduler=null", "trainer.keep_last=1"]
    status, output, _ = train("--overfit-batches", "1", *args, "trainer.verbosity=1")
    last = next(line for line in output.splitlines() if line.startswith("epoch  40"))
    assert status == 0 and "accuracy 1 " in last


def test_overfitting_takes_no_schedule_which_is_for_another_run(train):
    schedule = 'lr_scheduler={"type": "OneCycleLR", "args": {"max_lr": 9, "total_steps": 2}}'
    args = ["trainer.epochs=4", "optimizer.args.lr=0.002", "trainer.verbosity=1"]
    status, output, [run_dir] = train("--overfit-batches", "1", schedule, *args)
    assert status == 0 and output.startswith("--overfit-batches trains without lr_scheduler\n")
    assert output.count("lr 0.002 ") == 4
    assert read_json(run_dir / "config.json")["lr_scheduler"] is None


def test_more_batches_to_overfit_than_there_are_is_all_of_them(train):
    status, _, [run_dir] = train("--overfit-batches", "99", "trainer.epochs=2")
    state = resume.load(run_dir / "last.pth")
    assert status == 0 and state["step"] == 2 * 22 and "data_loader" not in state


class Ragged(DigitsDataLoader):
    """Its batches have fields of different lengths: only the loader knows how many samples."""

    def __init__(self, batch_size=64):
        super().__init__(batch_size)
        self.collate_fn = self.init_kwargs["collate_fn"] = lambda samples: (
            torch.stack([image for image, _ in samples]),
            torch.tensor([label for _, label in samples]),
            torch.ones(3),  # weights of the classes, say
        )


class RaggedTrainer(Trainer):
    def train_step(self, batch):
        return super().train_step(batch[:2])

    def valid_step(self, batch):
        return super().valid_step(batch[:2])


@pytest.mark.parametrize("flag", ["--check", "--summary", "--fast-dev-run", "--overfit-batches"])
def test_a_loader_counts_its_samples_in_a_few_batches_too(train, monkeypatch, flag):
    monkeypatch.setattr(data_loaders, "Ragged", Ragged, raising=False)
    monkeypatch.setattr("trainer.Trainer", RaggedTrainer)
    parts = ["data_loader.type=Ragged", 'data_loader.args={"batch_size": 60}', "trainer.epochs=1"]
    status, output, _ = train(flag, *["2"] * flag.endswith(("run", "batches")), *parts)
    assert status == 0, output
    if flag == "--summary":
        assert "Memory of a training step with 60 samples" in output


def test_first_batches_are_those_of_the_loader_with_their_counts():
    loader = DigitsDataLoader(batch_size=1000, shuffle=False)
    batches = FirstBatches(loader, 5)
    assert len(batches) == 2 and batches.n_samples == 1350 and batches.batch_size == 1000
    counts = [(len(labels), batches.n_samples_in_batch) for _, labels in batches]
    assert counts == [(1000, 1000), (350, 350)]
    assert not hasattr(FirstBatches([1, 2, 3], 2), "n_samples_in_batch")
    with pytest.raises(UserError, match="gives no batch"):
        FirstBatches([], 1)


def test_check_compares_no_workers_in_a_loop_of_ones_own(train, monkeypatch):
    class Own(Trainer):
        def _train_epoch(self, epoch):
            for data, target in self.data_loader:
                loss = self.criterion(self.model(data), target)
                self.optimize(loss)
            return {"val_loss": loss.item()}

    monkeypatch.setattr("trainer.Trainer", Own)
    status, output, _ = train("--check", "data_loader.args.num_workers=1")
    assert status == 0 and output.endswith("All is well.\n") and "workers" not in output


def test_profile_gives_each_part_its_time_and_traces_it(train):
    backward, args = torch.Tensor.backward, ["trainer.accumulate_steps=2", "trainer.verbosity=0"]
    status, output, [run_dir] = train("--profile", "data_loader.args.batch_size=16", *args)
    rows = dict(re.findall(r"^(\S.*?)  +(\d+\.\d+) +\d", output, re.MULTILINE))
    total = float(rows.pop("all"))
    parts = {"data", "forward and loss", "backward", "optimizer", "metrics", "the loop itself"}
    assert status == 0 and set(rows) == parts and all(float(ms) > 0 for ms in rows.values())
    assert sum(map(float, rows.values())) == pytest.approx(total, abs=0.01)
    [trace] = run_dir.iterdir()
    assert str(trace) in output and torch.Tensor.backward is backward
    marks = Counter(
        one["name"]
        for one in json.loads(trace.read_text())["traceEvents"]
        if one.get("cat") == "user_annotation"
    )
    assert marks["backward"] == marks["forward and loss"] == marks["metrics"] == 10
    assert marks["optimizer"] == 10  # zero_grad and step, each of 2 batches
    assert marks["data"] == 20  # a batch, and to_device


def test_profile_is_of_the_training_with_all_that_changes_it(train, monkeypatch):
    seen, take_step = [], Trainer.train_step

    def note(trainer, batch):
        is_trained = trainer.model.conv1.weight.requires_grad
        seen.append((is_trained, int(trainer.state["ema"].n_averaged), "finite" in trainer.state))
        return take_step(trainer, batch)

    monkeypatch.setattr(Trainer, "train_step", note)
    monkeypatch.setattr("tools.profile.TIMED", 1)
    changes = ["trainer.ema=0.9", "trainer.non_finite=skip", 'freeze={"conv1.*": 2}']
    status, output, [run_dir] = train("--profile", *changes)
    assert status == 0, output
    assert seen == [(False, n, True) for n in range(len(seen))] and len(seen) > 5
    assert len([*run_dir.iterdir()]) == 1


def test_profile_cannot_see_into_other_loops(train, monkeypatch):
    monkeypatch.setattr("trainer.Trainer", type("Own", (Trainer,), {"_train_epoch": None}))
    status, output, runs = train("--profile")
    assert status == 2 and "a _train_epoch of your own" in output and not runs


@pytest.mark.parametrize("flag", ["--fast-dev-run", "--overfit-batches"])
def test_a_number_of_batches_is_one_or_more(train, flag):
    status, output, runs = train(flag, "0")
    assert status == 2 and "'0' is not a whole number, 1 or more" in output and not runs


class Stateless(DataLoader):
    """A loader of torch alone, with neither a state_dict nor validation data."""

    def __init__(self):
        super().__init__(DigitsDataLoader().dataset, 64, shuffle=True)

    def split_validation(self):
        return None


class Lost(DigitsDataLoader):
    def load_state_dict(self, state):
        self.set_epoch(state["seed"], state["epoch"])


class Unseeded(Stateless):
    def __iter__(self):
        torch.seed()
        return super().__iter__()


@pytest.mark.parametrize(
    ("loader", "expected"),
    [
        (Stateless, "a resumed run differ in batch 5 of the data.*has no state_dict"),
        (Lost, "a resumed run differ in batch 5 of the data.*its load_state_dict does not bring"),
        (Unseeded, "two straight runs differ in batch 1 of the data.*else than the seed"),
    ],
)
def test_the_proof_blames_the_loader_where_it_is_the_reason(
    make_config, monkeypatch, loader, expected
):
    monkeypatch.setattr(data_loaders, "Own", loader, raising=False)
    changes = {"data_loader": {"type": "Own"}, "trainer.monitor": "off"}
    with pytest.raises(UserError, match=expected):
        verify_resume(make_config(changes), True)


class Counting(Trainer):
    """Has a state of its own in the checkpoints, which no weight depends on."""

    keeps = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.n, self.state["counter"] = 0, self

    def train_step(self, batch):
        self.n += 1
        return super().train_step(batch)

    def state_dict(self):
        return {"n": self.n}

    def load_state_dict(self, state):
        self.n = state["n"] if self.keeps else 0


def test_the_proof_looks_at_the_state_of_ones_own_too(make_config, monkeypatch, capsys):
    monkeypatch.setattr("trainer.Trainer", Counting)
    config = make_config({"trainer.accumulate_steps": 2})
    verify_resume(config, True)
    assert capsys.readouterr().out.startswith("Proven: 12 steps")
    monkeypatch.setattr(Counting, "keeps", False)
    with pytest.raises(UserError, match="counter.n: 24 and 4. Likely: it keeps a state"):
        verify_resume(config, True)


class Jitter(Callback):
    """As a user may have in tools/: the rate follows from a counter that no checkpoint has."""

    def on_train_start(self, trainer):
        n_steps = count()

        def set_rate():
            for group in trainer.optimizer.param_groups:
                group["lr"] = 0.001 * (1 + next(n_steps) % 5)

        trainer.after_step.append(set_rate)


def test_the_proof_is_of_the_callbacks_too(make_config, monkeypatch, capsys):
    changes = {"trainer.ema": 0.9, "trainer.non_finite": "skip", "freeze": {"conv1.*": 2}}
    ends, compare = [], proof.compare
    monkeypatch.setattr(proof, "compare", lambda a, *args, **kwargs: ends.append(a))
    verify_resume(make_config(changes), True)
    assert [int(end.state["ema"]["n_averaged"]) for end in ends] == [12, 12]
    assert all("finite" in end.state for end in ends)
    monkeypatch.setattr(proof, "compare", compare)
    verify_resume(make_config(changes), True)
    assert capsys.readouterr().out.count("Proven: 12 steps") == 2
    monkeypatch.setattr("utils.extras.load_callbacks", lambda: [*load_callbacks(), Jitter()])
    with pytest.raises(UserError, match="a resumed run differ in state_dict.*or a callback keeps"):
        verify_resume(make_config(), True)


def test_a_proof_does_not_wait_for_the_workers_of_the_training_before(make_config):
    began = monotonic()
    verify_resume(make_config({"data_loader.args.num_workers": 1}), True)
    end_workers()
    gc.collect()
    assert monotonic() - began < 30  # else 10 s for each


def test_what_is_left_out_of_a_trial_is_there():
    assert {*WATCHERS} < extras.texts().keys()


def test_no_proof_without_interruptions(make_config, monkeypatch):
    monkeypatch.setattr(Trainer, "_train_epoch", lambda trainer, epoch: {"val_loss": 1.0})
    with pytest.raises(UserError, match="call self._save_or_stop_if_due after each step"):
        verify_resume(make_config(), True)


def test_what_ends_a_proof_early_is_said(train):
    status, output, _ = train("--verify-resume", "optimizer.args.lr=1e30")
    assert status == 1 and output.startswith("the loss is nan; the step was not taken")


def test_a_run_is_repeated_from_its_own_config(train):
    train("trainer.epochs=1", "trainer.len_epoch=3", "optimizer.args.lr=0.01")
    _, _, [first] = train("--help")
    status, _, runs = train("-c", str(first / "config.json"))
    assert status == 0 and len(runs) == 2
    tables = [(run / "metrics.csv").read_text() for run in runs]
    configs = [(run / "config.json").read_text() for run in runs]
    assert tables[0] == tables[1] and configs[0] == configs[1]


def test_every_start_is_recorded(train):
    train("trainer.epochs=1", "trainer.len_epoch=1")
    _, _, [run_dir] = train("--help")
    train("-r", str(run_dir / "checkpoint-epoch1.pth"), "trainer.epochs=2", "trainer.len_epoch=1")
    starts = read_json(run_dir / "environment.json")
    assert len(starts) == 2 and {"command", "python", "torch", "device"} < set(starts[0])
    assert starts[0]["device"] == "cpu"


def test_what_git_does_not_have_yet_is_kept(tmp_path, monkeypatch):
    def git(*args):
        who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", tmp_path, *who, *args]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init")
    (tmp_path / "code.py").write_text("old\n")
    (tmp_path / "train.py").write_text("")
    git("add", "code.py", "train.py")
    git("commit", "-m", "first")
    monkeypatch.setattr("tools.record.PROJECT_DIR", tmp_path)
    run_dir = tmp_path / "run"
    run_dir.mkdir()
    record_start(run_dir, "cpu", {("seed",): (1, 2)})
    (tmp_path / "code.py").write_text("new\n")
    record_start(run_dir, "cpu", {("seed",): (1, 2)})
    clean, dirty = json.loads((run_dir / "environment.json").read_text())
    assert clean["git_commit"] == dirty["git_commit"] == git("rev-parse", "HEAD").strip()
    assert "git_diff" not in clean and dirty["git_dirty"] and clean["changes"] == {"seed": [1, 2]}
    assert "-old\n+new" in (run_dir / dirty["git_diff"]).read_text()


@pytest.mark.parametrize("is_ignored", [True, False])
def test_the_commit_of_a_repository_that_only_encloses_the_project_is_not_its_own(
    tmp_path, monkeypatch, is_ignored
):
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    project = tmp_path / "inner" / "project"
    project.mkdir(parents=True)
    (project / "train.py").write_text("")
    (tmp_path / ".gitignore").write_text("inner\n" if is_ignored else "")
    for command in (["init"], ["add", ".gitignore"], [*who, "commit", "-m", "first"]):
        subprocess.run(["git", "-C", tmp_path, *command], check=True, capture_output=True)
    (tmp_path / ".gitignore").write_text("inner\nmore\n")
    monkeypatch.setattr("tools.record.PROJECT_DIR", project)
    record_start(project, "cpu", {})
    [start] = read_json(project / "environment.json")
    assert start["git_commit"] is None and not start["git_dirty"] and "git_diff" not in start


def test_tools_are_not_imported_by_the_core():
    beside = {"tools", "tests", "report.py", "export.py", "sweep.py"}
    for path in PROJECT_DIR.rglob("*.py"):
        if path.relative_to(PROJECT_DIR).parts[0] not in beside:
            text = path.read_text(encoding="utf-8")
            assert "import tools" not in text and "from tools" not in text, path
