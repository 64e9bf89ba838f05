"""What can happen to a run: signals, full disks, damaged files, dead workers, bad numbers."""

import errno
import os
import re
import resource
import signal
import time
import warnings
from contextlib import nullcontext
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from torch import nn

from base import BaseDataLoader
from digits_example import CONFIG, DIGITS
from helpers import ENVIRONMENT, Copy, children_of, is_alive
from test import main as evaluate
from tools.background import BackgroundSaver
from tools.check import FirstSteps, explain
from tools.compare import first_difference
from tools.manifest import fingerprint
from tools.skip_steps import SkippedSteps
from tools.verify_resume import run as verify_resume
from train import build_trainer, main
from trainer.trainer import Trainer
from utils import UserError, resume, run
from utils.command_line import StopSignals
from utils.errors import RunError
from utils.files import PROJECT_DIR, read_json
from utils.run_dir import mark

LENGTH = ["trainer.epochs=3", "trainer.len_epoch=40", "trainer.save_every.steps=2"]
LENGTH += ["trainer.report=false"]
TESTS_DIR = Path(__file__).parent


def start(save_dir, *args, **kwargs):
    """A training of 120 steps in a process of its own, and of a group of its own."""
    command = ["-c", "import digits_example; digits_example.main()", "-d", "cpu"]
    command += [] if "last.pth" in str(args) else ["-c", CONFIG]
    command += [f"trainer.save_dir={save_dir}", "trainer.tensorboard=false", *LENGTH, *args]
    paths = os.pathsep.join(map(str, [PROJECT_DIR, TESTS_DIR]))
    return Copy(command, env=ENVIRONMENT | {"PYTHONPATH": paths}, **kwargs)


def finish(save_dir, *args, **kwargs):
    process = start(save_dir, *args, **kwargs)
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def the_run(save_dir):
    [run_dir] = save_dir.glob("*/*")
    return run_dir


def wait_for(found, process):
    """Until `found()` is true, while the process lives."""
    deadline = time.monotonic() + 60
    while not found():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()
        time.sleep(0.002)


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The end of a run that nothing happened to."""
    save_dir = tmp_path_factory.mktemp("straight")
    status, _, err = finish(save_dir)
    assert status == 0, err
    return the_run(save_dir)


def assert_same_end(run_dir, straight):
    ends = [resume.load(one / "last.pth") for one in (run_dir, straight)]
    for state in ends:
        del state["config"]
    assert first_difference(*ends) is None
    tables = [(one / "metrics.csv").read_text() for one in (run_dir, straight)]
    assert tables[0] == tables[1]


slow = pytest.mark.slow


@pytest.mark.parametrize(
    ("name", "status", "workers"),
    [
        ("SIGTERM", 143, 2),
        pytest.param("SIGINT", 130, 0, marks=slow),
        pytest.param("SIGUSR1", 138, 0, marks=slow),
    ],
)
def test_a_signal_saves_and_the_same_command_goes_on(tmp_path, straight, name, status, workers):
    args = ["-r", "auto", f"data_loader.args.num_workers={workers}"]
    process = start(tmp_path, *args)
    wait_for(lambda: [*tmp_path.glob("*/*/last.pth")], process)
    os.killpg(process.pid, getattr(signal, name))  # as a terminal or a cluster does: workers too
    _, err = process.communicate(timeout=60)
    assert process.returncode == status
    last = the_run(tmp_path) / "last.pth"
    assert re.fullmatch(rf"epoch \d, step \d+: stopped by {name}. Go on with: .* -r {last}\n", err)
    assert 0 < resume.load(last)["step"] < 120

    status, out, err = finish(tmp_path, *args)
    assert status == 0, err
    resuming = rf"Resuming after epoch \d, step \d+ of {last}\n"
    assert re.search(resuming, out) and re.search(resuming, (last.parent / "train.log").read_text())
    assert_same_end(the_run(tmp_path), straight)
    assert finish(tmp_path, "-r", last)[1].endswith("set trainer.epochs for more.\n")


@slow
def test_a_killed_run_goes_on_and_its_half_written_file_is_cleaned_up(tmp_path, straight):
    process = start(tmp_path)
    wait_for(lambda: [*tmp_path.glob("*/*/checkpoint-epoch1.pth")], process)
    process.kill()
    process.communicate()
    (the_run(tmp_path) / ".last.pth.99.tmp").write_bytes(b"half")
    assert finish(tmp_path, "-r", "auto")[0] == 0
    assert not [*the_run(tmp_path).glob(".*.tmp")]
    assert_same_end(the_run(tmp_path), straight)


def test_a_run_that_another_process_trains_is_refused_and_left_alone(make_trainer, tmp_path):
    trainer = make_trainer()
    trainer.train()  # whose lock ends with the training
    run_dir = trainer.checkpoint_dir
    last, rows = run_dir / "last.pth", (run_dir / "metrics.csv").read_text()
    args = ["-r", last, "data_loader.args.num_workers=1"]
    process = start(tmp_path / "saved", *args, "trainer.epochs=100000")
    try:
        wait_for(lambda: (run_dir / "metrics.csv").read_text() > rows, process)  # an epoch more
        half_written = run_dir / f".other.{process.pid}.tmp"
        half_written.touch()
        again = make_trainer({"trainer.epochs": 3}, resume=last)
        line = f"^{run_dir}: another process is training this run"
        with pytest.raises(UserError, match=line):
            again.train()
        assert half_written.exists()
        worker, *_ = children_of(process.pid)
        again = make_trainer({"trainer.epochs": 3}, resume=last)
        os.kill(process.pid, signal.SIGKILL)
        process.process.join()
        run.prepare(again)
        assert is_alive(worker) and not half_written.exists()
    finally:
        os.killpg(process.pid, signal.SIGKILL)


def test_a_run_on_a_drive_without_locks_is_trained(make_trainer, monkeypatch):
    monkeypatch.setattr("fcntl.lockf", Mock(side_effect=OSError(errno.ENOLCK, "No locks")))
    trainer = make_trainer()
    trainer.train()
    assert trainer.outcome == "finished"


def test_a_second_interrupt_acts_at_once():
    with StopSignals() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.received == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_auto_starts_anew_where_there_is_nothing_and_passes_over_damage(
    example_parts, tmp_path, capsys
):
    args = [
        "-c",
        str(CONFIG),
        "-d",
        "cpu",
        f"trainer.save_dir={tmp_path}",
        *LENGTH,
        "trainer.keep_last=null",
    ]
    main(["-r", "auto", *args])
    run_dir = the_run(tmp_path)
    content = bytearray((run_dir / "last.pth").read_bytes())
    content[len(content) // 2] ^= 1  # one bit
    for name in ("checkpoint-epoch3.pth", "last.pth", "model_best.pth"):
        (run_dir / name).write_bytes(content)
    mark(run_dir, outcome="interrupted")
    capsys.readouterr()
    main(["-r", "auto", *args])
    out = capsys.readouterr().out
    fault = "damaged, or not a checkpoint of torch 1.6 or later"
    assert f"last.pth: {fault}; looking for the one before it\n" in out
    assert "checkpoint-epoch2.pth\n" in out
    (run_dir / "last.pth").write_bytes(content)
    with pytest.raises(SystemExit, match="2"):
        main(["-r", str(run_dir / "last.pth"), *args])
    assert capsys.readouterr().err == f"{run_dir / 'last.pth'}: {fault}\n"


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


@slow
def test_a_full_disk_is_one_line_and_what_was_saved_before_is_intact(tmp_path):
    """A limit on the size of files stands for the disk: the system refuses the write for real."""
    finish(tmp_path, "trainer.epochs=1")
    run_dir = the_run(tmp_path)
    before = (run_dir / "last.pth").read_bytes()
    status, _, err = finish(tmp_path, "-r", run_dir / "last.pth", before=limit_files)
    assert status == 1 and len(err.splitlines()) == 1
    assert "last.pth: cannot be written: File too large; the others are intact. Go on with" in err
    assert (run_dir / "last.pth").read_bytes() == before and not [*run_dir.glob(".*.tmp")]


def test_what_is_saved_is_the_state_at_that_moment(tmp_path):
    saver = BackgroundSaver()
    weight = torch.zeros(1_000_000)
    for number in range(3):
        saver.save({"state_dict": {"weight": weight}, "n": number}, tmp_path / f"{number}.pth")
        weight += 1
    saver.wait()
    for number in range(3):
        assert resume.load(tmp_path / f"{number}.pth")["state_dict"]["weight"].eq(number).all()
    state = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)).state_dict()
    saver.save({"state_dict": state, "more": [{}, torch.eye(3).to_sparse()]}, tmp_path / "4.pth")
    saver.wait()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what some versions of torch say of sparse tensors
        loaded = resume.load(tmp_path / "4.pth")
    assert first_difference(state, loaded["state_dict"]) is None
    assert loaded["state_dict"]._metadata == state._metadata
    assert loaded["more"][1].to_dense().equal(torch.eye(3))
    saver.save({"state_dict": {}}, tmp_path / "none" / "0.pth")
    with pytest.raises(RunError, match="cannot be written: No such file"):
        saver.wait()


def test_the_next_step_changes_nothing_of_what_is_being_saved(tmp_path):
    weight = nn.Parameter(torch.zeros(10_000_000))
    optimizer = torch.optim.SGD([weight], lr=1.0, momentum=1.0)
    saver = BackgroundSaver()
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    for number in (1, 2, 3):  # the first time, the buffers are made
        saver.save({"state_dict": {}, "optimizer": optimizer.state_dict()}, tmp_path / "0.pth")
        optimizer.step()
        saver.wait()
        state = torch.load(tmp_path / "0.pth", weights_only=True)["optimizer"]["state"]
        assert state[0]["momentum_buffer"].eq(number).all()


def test_saving_by_steps_and_by_minutes(make_trainer):
    trainer = make_trainer({"trainer.save_every.steps": 3, "trainer.save_period": 9})
    saved = []
    trainer._save = lambda epochs_done, names: saved.append((trainer.step, epochs_done))
    trainer.train()
    assert saved == [(3, 0), (4, 1), (6, 1), (8, 2)]  # 4 and 8: the best epoch, the last epoch
    trainer = make_trainer({"trainer.save_every.minutes": 0})
    trainer._save = lambda epochs_done, names: saved.append(trainer.step)
    trainer.train()
    assert saved[4:] == [1, 2, 3, 4, 4, 5, 6, 7, 8, 8]


class Faulty(torch.utils.data.Dataset):
    """Fails at sample 5, in the way that it is told."""

    def __init__(self, fault):
        self.fault = fault

    def __len__(self):
        return 8

    def fingerprint(self):
        return "reads no sample"

    def __getitem__(self, index):
        if index == 5:
            self.fault()
        return torch.ones(1), torch.ones(1)


def missing():
    open("/no/such/file.png")


def no_memory():
    raise MemoryError


def die():
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("fault", "workers", "expected"),
    [
        (missing, 0, "No such file or directory: '/no/such/file.png'"),
        (missing, 2, "No such file or directory: '/no/such/file.png'"),
        (no_memory, 0, "out of memory: take a smaller batch_size"),
        pytest.param(
            *(die, 2, "a data loader's worker died"),
            # DataLoader's signal can come as multiprocessing opens a socket, which stays open then
            marks=pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
        ),
    ],
)
def test_trouble_in_an_epoch_is_one_line_and_resume_works(
    make_config, capsys, fault, workers, expected
):
    changes = {"trainer.monitor": "off", "trainer.len_epoch": None, "trainer.epochs": 1}
    changes["trainer.save_every.steps"] = 1

    def trainer(fault, **kwargs):
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        loader = BaseDataLoader(Faulty(fault), 1, False, 0, workers)
        config = make_config(changes, **kwargs)
        return Trainer(model, nn.functional.mse_loss, [], optimizer, config, "cpu", loader)

    broken = trainer(fault)
    with pytest.raises(RunError):
        broken.train()
    last = broken.checkpoint_dir / "last.pth"
    err = capsys.readouterr().err
    assert err.startswith("epoch 1, step ") and expected in err
    assert err.endswith(f"Go on with: python train.py -r {last}\n") and len(err.splitlines()) == 1
    assert trainer(lambda: None, resume=last).train()["epoch"] == 1


def test_the_death_of_a_worker_is_told_where_its_connection_ends_first():
    def _try_get_data():  # the name in DataLoader
        raise ConnectionResetError

    death = RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed.")
    with pytest.raises(ConnectionResetError) as caught:
        _try_get_data()
    assert str(FirstSteps().on_error(None, caught.value)) == explain(death)
    assert explain(death).startswith("a data loader's worker died, as where memory is short")
    assert explain(ValueError("of the code itself")) is None


class Explosive(Trainer):
    """Its third step has a loss that is not a number."""

    bad_steps = (2,)

    def train_step(self, batch):
        data, target = batch
        output = self.model(data)
        loss = self.criterion(output, target)
        if self.step in self.bad_steps:
            loss = loss * float("nan")
        self.optimize(loss)
        return {"loss": loss, **self.measure(output, target)}


@pytest.fixture
def explosive(make_trainer, monkeypatch):
    monkeypatch.setattr("trainer.Trainer", Explosive)
    return make_trainer


def test_a_loss_that_is_not_finite_stops_before_the_step(explosive, capsys):
    trainer = explosive({"trainer.save_every.steps": 1})
    with pytest.raises(RunError, match="the loss is nan; the step was not taken"):
        trainer.train()
    assert f"--replay {trainer.checkpoint_dir}. Go on with" in capsys.readouterr().err
    saved = resume.load(trainer.checkpoint_dir / "last.pth")
    assert saved["step"] == trainer.step == 2
    assert first_difference(saved["state_dict"], trainer.model.state_dict()) is None
    assert first_difference(saved["optimizer"], trainer.optimizer.state_dict()) is None


@pytest.fixture
def as_on_a_gpu(explosive):
    """Trainers that do not wait for a loss."""

    def make(changes):
        trainer = explosive(changes)
        trainer.checks_each_step = False
        return trainer

    return make


LATE = "^the loss, a gradient or a weight is not finite since the last log line"


def test_a_loss_that_is_not_waited_for_is_told_with_the_next_line(as_on_a_gpu):
    trainer = as_on_a_gpu({"trainer.log_step": 4})
    with pytest.raises(RunError, match=LATE):
        trainer.train()
    assert trainer.step == 4 and not [*trainer.checkpoint_dir.glob("*.pth")]


def test_what_is_told_later_is_told_before_it_is_saved(as_on_a_gpu):
    trainer = as_on_a_gpu({"trainer.save_every.steps": 1})
    with pytest.raises(RunError, match=LATE):
        trainer.train()
    assert resume.load(trainer.checkpoint_dir / "last.pth")["step"] == 2


def test_steps_can_be_skipped_up_to_a_limit(explosive):
    trainer = explosive({"trainer.non_finite": "skip"})
    assert trainer.train()["loss"] < 3 and trainer.state["finite"].n_skipped == 1
    last = resume.load(trainer.checkpoint_dir / "last.pth")
    assert last["step"] == 8 and last["finite"] == {"n_skipped": 1}
    trainer = explosive({"trainer.non_finite": "skip", "trainer.max_skipped": 0})
    with pytest.raises(RunError, match="the loss is not finite; the step was not taken"):
        trainer.train()


def test_of_several_optimizers_no_half_step_is_taken(make_trainer):
    parts = {name: {"type": "SGD", "args": {"lr": 0.1}} for name in ("fc1", "fc2")}
    changes = {"optimizer": parts, "lr_scheduler": None, "trainer.non_finite": "skip"}
    with pytest.raises(UserError, match="^trainer.non_finite = skip: goes with one optimizer: "):
        make_trainer(changes).train()


class Root(nn.Module):
    """Its first gradient is infinite, its output is not."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.weight.sqrt() * x


def test_fp16_that_finds_no_scale_does_not_end_as_if_it_had_trained(make_config):
    changes = {"trainer.monitor": "off", "trainer.precision": "fp16", "trainer.len_epoch": None}
    config = make_config(changes)
    model = Root()
    optimizer, batches = torch.optim.SGD(model.parameters(), 0.1), [(torch.ones(1),) * 2] * 40
    trainer = Trainer(model, nn.functional.mse_loss, [], optimizer, config, "cpu", batches)
    with pytest.raises(RunError, match=LATE):
        trainer.train()
    assert not [*trainer.checkpoint_dir.glob("*.pth")]


def test_a_step_that_fp16_leaves_out_has_no_share_in_the_norm(make_trainer):
    changes = {"trainer.precision": "fp16", "trainer.clip_grad_norm": 9.0, "lr_scheduler": None}
    trainer = make_trainer(changes | {"trainer.epochs": 1})
    trainer.scaler = trainer.state["scaler"] = torch.amp.GradScaler("cpu", init_scale=2.0**21)
    log = trainer.train()
    assert trainer.scaler.get_scale() < 2.0**21 and 0 < log["grad_norm"] < 100


@pytest.mark.parametrize("n_batches", [1, 2])
def test_a_gradient_that_is_not_finite_is_never_saved(make_config, n_batches):
    model = Root()
    batch = (torch.ones(1), torch.ones(1))
    config = make_config({"trainer.monitor": "off", "trainer.len_epoch": n_batches})
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    batches = [batch] * n_batches
    trainer = Trainer(model, nn.functional.mse_loss, [], optimizer, config, "cpu", batches)
    what = LATE if n_batches == 1 else "the loss is inf; the step was not taken"  # the next one
    with pytest.raises(RunError, match=what):
        trainer.train()
    assert trainer.step == 1 and not [*trainer.checkpoint_dir.glob("*.pth")]


@pytest.mark.parametrize(
    "gradient",
    [
        torch.full((1000,), 100.0, dtype=torch.half),  # whose sum is more than half can hold
        torch.ones(2, dtype=torch.complex64),
        torch.eye(2).to_sparse(),
        torch.tensor(2.0, dtype=torch.double),
        torch.ones(1000),
    ],
    ids=lambda gradient: f"{gradient.dtype} {gradient.layout}",
)
def test_gradients_of_any_kind_can_be_skipped(make_trainer, gradient):
    class Given(torch.autograd.Function):
        """Has the gradient that the test gives, whatever it is a gradient of."""

        @staticmethod
        def forward(ctx, parameter):
            return torch.zeros((), device=trainer.device)

        @staticmethod
        def backward(ctx, _):
            return gradient * factor

    trainer = make_trainer({"trainer.max_skipped": 0})
    gradient = gradient.to(trainer.device)
    parameter = nn.Parameter(torch.zeros_like(gradient.to_dense()))
    bias, unused = (nn.Parameter(torch.zeros(1, device=trainer.device)) for _ in range(2))
    optimizer = torch.optim.SGD([bias, unused, parameter], 0.1)
    optimizer.register_step_pre_hook(SkippedSteps(trainer).check_gradients)
    for factor in (1, float("inf")):
        before = parameter.detach().clone()
        stopping = pytest.raises(RunError, match="^a gradient is not finite; the step was not")
        with nullcontext() if factor == 1 else stopping:
            trainer.optimize(bias.sum() + Given.apply(parameter), optimizer)
        assert torch.equal(parameter, before) == (factor != 1)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def replay(path, capsys):
    """What --replay prints."""
    capsys.readouterr()
    main(["-c", str(CONFIG), "-d", "cpu", "--replay", str(path)])
    return capsys.readouterr().out


def test_replay_repeats_a_run_from_its_start(example_parts, tmp_path, capsys):
    args = ["-c", str(CONFIG), f"trainer.save_dir={tmp_path}", "-d", "cpu", "trainer.report=false"]
    with pytest.raises(SystemExit, match="1"):
        main([*args, "optimizer.args.lr=1e30"])
    before = contents(tmp_path)
    with pytest.warns(UserWarning, match="Error detected in LogSoftmaxBackward0|forward call"):
        out = replay(the_run(tmp_path), capsys)
    expected = "Function 'LogSoftmaxBackward0' returned nan values in its 0th output."
    assert out == f"Repeated: step 1: {expected}\n" and contents(tmp_path) == before
    for path in (tmp_path, PROJECT_DIR, the_run(tmp_path) / "last.pth", TESTS_DIR / "digits.npz"):
        with pytest.raises(SystemExit, match="2"):
            replay(path, capsys)
        expected = "is neither the directory of a run nor a checkpoint in one\n"
        assert capsys.readouterr().err == f"{path}: {expected}"


@pytest.mark.parametrize("policy", ["stop", "skip", "ignore"])
def test_replay_goes_on_from_a_checkpoint(explosive, monkeypatch, capsys, policy):
    seen, train_step = [], Explosive.train_step

    def note(trainer, batch):
        seen.append((trainer.step, batch[0].sum().item(), torch.rand(()).item()))
        return train_step(trainer, batch)

    monkeypatch.setattr(Explosive, "bad_steps", (6,))
    monkeypatch.setattr(Explosive, "train_step", note)
    trainer = explosive({"trainer.non_finite": policy, "trainer.max_skipped": 0})
    stopping = pytest.raises(RunError, match="the loss is n")
    with nullcontext() if policy == "ignore" else stopping:
        trainer.train()
    path = run_dir = trainer.checkpoint_dir
    if policy == "ignore":  # the run went on to its end
        path = run_dir / "checkpoint-epoch1.pth"
    before, expected = contents(run_dir), seen[4:7]
    seen.clear()
    with pytest.warns(UserWarning, match="Error detected in|Traceback of forward call"):
        out = replay(path, capsys)
    assert re.match(r"Repeated: step 6: Function '\w+Backward0' returned nan values", out)
    assert seen == expected and [step for step, *_ in seen] == [4, 5, 6]
    assert contents(run_dir) == before


def test_replay_takes_up_what_the_run_was_resumed_with(explosive, capsys):
    first = explosive({"trainer.epochs": 1, "lr_scheduler": None})
    first.step = 10
    first.train()
    last = first.checkpoint_dir / "last.pth"
    changes = {"optimizer.args.lr": 1e30, "lr_scheduler": None}
    with pytest.raises(RunError, match="is n"):
        explosive(changes, resume=last).train()
    with pytest.warns(UserWarning, match="Error detected in|Traceback of forward call"):
        assert replay(first.checkpoint_dir, capsys).startswith("Repeated: step 15: ")


@pytest.mark.parametrize("name", ["checkpoint-epoch1.pth", ""])  # from the second epoch, or all
def test_replay_is_of_the_training_with_all_that_changes_it(explosive, monkeypatch, capsys, name):
    seen, train_step = [], Explosive.train_step

    def note(trainer, batch):
        average = int(trainer.state["ema"].n_averaged)
        weight = trainer.model.conv1.weight
        seen.append((trainer.step, average, weight.requires_grad, weight.sum().item()))
        return train_step(trainer, batch)

    monkeypatch.setattr(Explosive, "bad_steps", (6,))
    monkeypatch.setattr(Explosive, "train_step", note)
    trainer = explosive({"trainer.ema": 0.9, "freeze": {"conv1.*": 2}, "trainer.epochs": 2})
    with pytest.raises(RunError, match="the loss is n"):
        trainer.train()
    run_dir = trainer.checkpoint_dir
    if not name:
        for path in run_dir.glob("*.pth"):
            path.unlink()
    expected = [(step, *more) for step, *more in seen if step >= 4 or not name]
    seen.clear()
    with pytest.warns(UserWarning, match="Error detected in|Traceback of forward call"):
        assert replay(run_dir / name, capsys).startswith("Repeated: step 6: ")
    assert seen == expected and len({trained for _, _, trained, _ in seen}) == (1 if name else 2)


def test_replay_says_where_all_is_well(explosive, monkeypatch, capsys):
    trainer = explosive({"trainer.save_every.steps": 1})
    with pytest.raises(RunError, match="the loss is nan"):
        trainer.train()
    monkeypatch.setattr(Explosive, "bad_steps", ())  # the code was mended
    out = replay(trainer.checkpoint_dir, capsys)
    assert out == "Not repeated: every step from 2 up to 3 is finite\n"


@pytest.mark.parametrize("policy", ["stop", "skip", "ignore", "stop, told later"])
def test_replay_repeats_what_no_operation_gives(make_config, monkeypatch, capsys, policy):
    """An infinite loss, whose gradients are none that torch looks for."""
    policy, *is_late = policy.split(", ")

    class Infinite(Trainer):
        def train_step(self, batch):
            loss = self.criterion(self.model(batch[0]), batch[1])
            self.optimize(loss + (float("inf") if self.step == 5 else 0))
            return {"loss": loss}

    monkeypatch.setattr("trainer.Trainer", Infinite)
    trainer = build_trainer(make_config({"trainer.non_finite": policy}))
    trainer.checks_each_step = not is_late  # as on a GPU
    stopping = pytest.raises(RunError, match=LATE if is_late else "^the loss is inf")
    with stopping if policy == "stop" else nullcontext():
        trainer.train()
    path = trainer.checkpoint_dir / "checkpoint-epoch1.pth"
    assert replay(path, capsys) == "Repeated: step 5: the loss is not finite\n"


class InfiniteGradient(Trainer):
    """Its third step has a gradient that is not finite, and none that torch looks for."""

    def optimize(self, loss, optimizer=None):
        if self.step == 2:
            weight = next(self.model.parameters())
            weight.register_hook(lambda gradient: torch.full_like(gradient, float("inf")))
        super().optimize(loss, optimizer)


@pytest.mark.parametrize("n_steps", [3, 4])  # the run ends with it; the next loss tells it
def test_replay_names_the_step_of_an_infinite_gradient(make_config, monkeypatch, capsys, n_steps):
    monkeypatch.setattr("trainer.Trainer", InfiniteGradient)
    changes = {"trainer.len_epoch": n_steps, "trainer.epochs": 1}
    trainer = build_trainer(make_config(changes))
    with pytest.raises(RunError, match=LATE if n_steps == 3 else "the loss is nan"):
        trainer.train()
    assert not [*trainer.checkpoint_dir.glob("*.pth")]
    out = replay(trainer.checkpoint_dir, capsys)
    assert out == "Repeated: step 2: a gradient is not finite\n"


def test_a_step_that_is_left_out_counts_for_no_mean(make_config, monkeypatch):
    monkeypatch.setattr("trainer.Trainer", InfiniteGradient)
    changes = {"trainer.non_finite": "skip", "trainer.clip_grad_norm": 1.0, "trainer.len_epoch": 3}
    trainer = build_trainer(make_config(changes | {"trainer.epochs": 1}))
    log = trainer.train()
    assert trainer.state["finite"].n_skipped == 1 and 0 < log["grad_norm"] < 100


def test_a_bad_micro_batch_stops_before_its_step_or_leaves_all_of_it_out(explosive, monkeypatch):
    bad = [False, False, True] + [False] * 9  # the first of the second step

    def train_step(self, batch):
        loss = self.criterion(self.model(batch[0]), batch[1])
        loss = loss * float("nan") if bad[self.step * 2 + (not self.is_first_micro_batch)] else loss
        self.optimize(loss)
        return {"loss": loss}

    monkeypatch.setattr(Explosive, "train_step", train_step)
    changes = {"trainer.accumulate_steps": 2, "trainer.len_epoch": 8, "trainer.epochs": 1}
    trainer = explosive(changes)
    with pytest.raises(RunError, match="the loss is nan; the step was not taken"):
        trainer.train()
    assert trainer.step == 1
    trainer = explosive(changes | {"trainer.non_finite": "skip"})
    assert trainer.train()["loss"] < 3 and trainer.state["finite"].n_skipped == 1


def test_a_step_that_is_left_out_leaves_no_trace_in_batch_norm(explosive):
    trainer = explosive({"trainer.non_finite": "skip"})
    trainer.model.norm = nn.BatchNorm2d(1).to(trainer.device)
    forward = trainer.model.forward

    def spoiled(x):
        bad = trainer.model.training and trainer.step == 2
        return forward(trainer.model.norm(x * float("nan") if bad else x))

    trainer.model.forward = spoiled
    log = trainer.train()
    assert trainer.state["finite"].n_skipped == 1 and log["val_loss"] < 3
    assert trainer.model.norm.running_mean.isfinite().all()


@pytest.mark.parametrize("fused", [False, True])
def test_an_overflow_of_fp16_is_no_step_to_skip(make_trainer, fused):
    optimizer = {"type": "Adam", "args": {"lr": 0.001, "fused": fused}}
    changes = {"optimizer": optimizer, "lr_scheduler": None, "trainer.precision": "fp16"}
    changes |= {"trainer.max_skipped": 0}
    trainer = make_trainer(changes | {"trainer.non_finite": "skip", "trainer.clip_grad_norm": 9.0})
    trainer.scaler = torch.amp.GradScaler(trainer.device.type, init_scale=2.0**40)
    trainer.state["scaler"] = trainer.scaler
    before = trainer.scaler.get_scale()
    trainer.train()
    assert trainer.state["finite"].n_skipped == 0 and trainer.scaler.get_scale() < before


def test_trouble_in_a_replay_is_said(explosive, monkeypatch, capsys):
    trainer = explosive({})
    with pytest.raises(RunError, match="the loss is nan"):
        trainer.train()

    def fail(trainer, batch):
        raise OSError("the disk is gone")

    monkeypatch.setattr(Explosive, "train_step", fail)
    with pytest.raises(SystemExit, match="1"):
        replay(trainer.checkpoint_dir, capsys)
    assert re.fullmatch(r"trainer/trainer\.py:\d+: the disk is gone\n", capsys.readouterr().err)


def test_exact_resume_is_proven(make_config, capsys):
    verify_resume(make_config({"trainer.len_epoch": None}), None)
    assert "end bit for bit the same" in capsys.readouterr().out


def test_the_proof_finds_a_state_that_is_forgotten(make_config, monkeypatch):
    class Forgetful(Trainer):
        mood = 1.0

        def train_step(self, batch):
            self.mood *= 0.9
            data, target = batch
            loss = self.mood * self.criterion(self.model(data), target)
            self.optimize(loss)
            return {"loss": loss}

    monkeypatch.setattr("trainer.Trainer", Forgetful)
    with pytest.raises(UserError, match="differ in state_dict.conv1.weight.*does not have"):
        verify_resume(make_config(), None)


def test_the_proof_finds_a_training_that_is_not_repeatable(make_config, monkeypatch):
    generator = torch.Generator()

    class Moody(Trainer):
        def train_step(self, batch):
            loss = torch.rand((), generator=generator) * self.criterion(
                self.model(batch[0]), batch[1]
            )
            self.optimize(loss)
            return {"loss": loss}

    monkeypatch.setattr("trainer.Trainer", Moody)
    with pytest.raises(UserError, match="two straight runs differ in state_dict"):
        verify_resume(make_config(), None)


def test_a_run_that_was_built_twice_is_the_same(make_config):
    """Guards the tests above: equal seeds give equal beginnings."""
    first, second = (build_trainer(make_config()).model.state_dict() for _ in range(2))
    assert first_difference(first, second) is None


def test_data_that_changed_are_refused_unless_allowed(make_config, tmp_path, capsys):
    first = build_trainer(make_config())
    first.train()
    last = str(first.checkpoint_dir / "last.pth")
    with np.load(DIGITS) as arrays:
        changed = {name: arrays[name].copy() for name in arrays}
    changed["train_images"][0, 3, 3] ^= 1
    np.savez(tmp_path / "digits.npz", **changed)
    elsewhere = f"data_loader.args.path={tmp_path / 'digits.npz'}"
    with pytest.raises(SystemExit, match="2"):
        main(["-r", last, elsewhere])
    err = capsys.readouterr().err
    assert "data.json: the data have changed since, other samples; --allow-data-change" in err
    with pytest.raises(SystemExit, match="2"):
        main(["-r", last, "data_loader.args.validation_split=0.2", "trainer.epochs=3"])
    assert "another choice for training" in capsys.readouterr().err
    assert len(read_json(first.checkpoint_dir / "data.json")["validation"]) == 150
    main(["-r", last, elsewhere, "--allow-data-change"])


def test_testing_on_other_data_is_refused(make_config, tmp_path, capsys):
    trainer = build_trainer(make_config({"trainer.epochs": 1}))
    trainer.train()
    best = str(trainer.checkpoint_dir / "model_best.pth")
    evaluate(["-r", best])
    with np.load(DIGITS) as arrays:
        changed = {name: arrays[name].copy() for name in arrays}
    changed["test_images"][7, 3, 3] ^= 1
    np.savez(tmp_path / "digits.npz", **changed)
    elsewhere = f"data_loader.args.path={tmp_path / 'digits.npz'}"
    with pytest.raises(SystemExit, match="2"):
        evaluate(["-r", best, elsewhere])
    assert "data.json: the data have changed since, other samples" in capsys.readouterr().err
    evaluate(["-r", best, elsewhere, "--allow-data-change"])


def test_any_data_set_has_a_fingerprint():
    def samples(change=0):
        image = torch.arange(4.0).reshape(2, 2)
        label = torch.tensor(3)
        x = (image + change, np.ones(3), label)
        return [{"x": x, "name": str(i), "y": i} for i in range(40)]

    assert fingerprint(samples()) == fingerprint(samples())
    assert len({fingerprint(samples()), fingerprint(samples(1)), fingerprint(samples()[:-1])}) == 3


class Kept(torch.utils.data.Dataset):
    """Keeps things as attributes, of which its samples tell nothing."""

    def __init__(self, **kept):
        vars(self).update(kept)

    def __len__(self):
        return 4000

    def __getitem__(self, index):
        return 0


def test_all_numbers_that_a_data_set_keeps_are_in_its_fingerprint():
    def fingerprints(change=0):
        numbers = torch.arange(4000)
        numbers[1234] += change
        parts = [Kept(tensors=numbers.split(1000)), Kept()]
        values = [numbers, numbers.numpy(), numbers.tolist(), [*numbers], parts, parts[0]]
        return [fingerprint(Kept(values=one)) for one in values]

    assert fingerprints() == fingerprints()
    assert all(old != new for old, new in zip(fingerprints(), fingerprints(1), strict=True))


class Cached(Kept):
    """Keeps the samples that were asked for."""

    def __getitem__(self, index):
        self.cache[index] = index
        return self.cache[index]


def test_a_cache_is_not_among_what_a_data_set_keeps():
    first, later = (Cached(cache=torch.full((4000,), value)) for value in (1.5, 7.5))
    assert fingerprint(first) == fingerprint(later)


def test_files_may_lie_elsewhere():
    def kept(folder):
        paths = [f"{folder}/{index}.png" for index in range(9)]
        return Kept(paths=np.array(paths), samples=[*zip(paths, range(9), strict=True)])

    assert fingerprint(kept("data")) == fingerprint(kept("elsewhere"))


class Pids(torch.utils.data.Dataset):
    def __len__(self):
        return 20

    def __getitem__(self, index):
        return torch.tensor(os.getpid())


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_leave_signals_to_the_main_process(context):
    loader = BaseDataLoader(Pids(), 1, False, 0, 1, multiprocessing_context=context)
    batches = iter(loader)
    pid = next(batches).item()
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        os.kill(pid, getattr(signal, name))
    assert [batch.item() for batch in batches] == [pid] * 19
