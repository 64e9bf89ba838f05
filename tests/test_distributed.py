"""Real `torchrun` with processes on this machine: right, with one voice, and never left waiting."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import time
from ast import literal_eval
from pathlib import Path
from tempfile import mkdtemp

import pytest

from helpers import ENVIRONMENT, FORKSERVER, python, run_agent, run_script, succeed
from test_bake import STARTER_FILES

pytestmark = pytest.mark.slow

SHORT = [
    "trainer.epochs=2",
    "trainer.tensorboard=false",
    "data_loader.args.validation_split=3405",  # 595 images to train on: the last batches are uneven
    "data_loader.args.augment=false",
    "arch.args.dropout=0",
    "optimizer.args.lr=0.001",
    "trainer.keep_last=null",
]
LOAD = """
import sys, torch
from pathlib import Path
from tools.compare import first_difference
from tools.fsdp import load_whole
from utils import resume
paths = map(Path, sys.argv[1:])
a, b = (load_whole(path) if path.is_dir() else resume.load(path) for path in paths)
"""
# Compares weights with a tolerance, and prints the largest difference
CLOSE = f"""{LOAD}
a, b = a["state_dict"], b["state_dict"]
assert a.keys() == b.keys()
print(max((a[key] - b[key]).abs().max().item() for key in a))
"""
EQUAL = f"""{LOAD}
for one in (a, b):
    del one["config"]
print(first_difference(a, b))
"""
POSITION = """
import sys
from utils import resume
print(resume.load(sys.argv[1])["data_loader"])
"""
# A loader that writes down, for each process, which samples it has been asked for
NOTING = """

class NotingLoader(MnistDataLoader):
    def __init__(self, notes="", **kwargs):
        import os

        super().__init__(**kwargs)
        dataset, self.notes = self.dataset, notes
        get = dataset.__getitems__

        def note(indices):
            rank = os.environ.get("RANK", "0")
            with open(f"{notes}/rank{rank}.txt", "a") as file:
                file.write(" ".join(map(str, indices)) + "\\n")
            return get(indices)

        dataset.__getitems__ = note
        dataset.fingerprint = lambda: "digits"  # else the manifest looks at some samples
"""


@pytest.fixture(scope="module")
def project(bake):
    project = bake(size="full")
    loaders = project / "data_loader" / "data_loaders.py"
    loaders.write_text(loaders.read_text() + NOTING)
    model = project / "model" / "model.py"
    model.write_text(model.read_text() + HALF_USED)
    replace(project / "tools" / "save_minutes.py", "MOST_STEPS = 64", "MOST_STEPS = 1")  # asks each
    replace(project / "trainer" / "trainer.py", "        data, target = batch\n", FAULT)
    return project


def replace(path, old, new):
    """Change the first place in a file where it has `old`."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


HALF_USED = """

class HalfUsed(MnistModel):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(3, 3)
"""
FAULT = """        data, target = batch
        import os
        rank, kind, step = os.environ.get("FAULT", "0 none 0").split()
        if rank == os.environ.get("RANK") and self.step == int(step):
            if kind == "error":
                raise RuntimeError("the fault of this rank")
            if kind == "user":
                raise UserError("a mistake in the data of this rank")
            if kind == "loss":  # of this rank alone, whose gradients are finite
                own = type(self).optimize
                self.optimize = lambda loss: own(vars(self).pop("optimize") and self, loss + 1e999)
            if kind == "nan":
                data = data * float("nan")
            if kind == "kill" and os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
                self.saver.wait()
                os.kill(os.getpid(), 9)
            if kind == "term":
                os.kill(os.getpid(), 15)
"""


def arguments(save_dir, *overrides, batch_size=32):
    size = f"data_loader.args.batch_size={batch_size}"
    return ["train.py", "-d", "cpu", f"trainer.save_dir={save_dir}", size, *SHORT, *overrides]


def begin(project, *arguments, n=2, agents=("--standalone",), fault="0 none 0"):
    """A process that does what torchrun does, in a session with all that it starts."""
    folder = Path(mkdtemp())
    files = [folder / name for name in ("out", "err")]
    command = [*map(str, (*agents, f"--nproc-per-node={n}", *arguments))]
    environment = ENVIRONMENT | {"FAULT": fault}
    todo = (project, command, *files, environment, run_agent)
    process = FORKSERVER.Process(target=run_script, args=todo)
    process.start()
    process.files = files
    return process


def finish(process, limit=240):
    """The status of a process that ends by itself, and what it printed. It leaves no other."""
    try:
        process.join(limit)
        assert not left_of(process)
    finally:
        for pid in left_of(process):
            os.kill(pid, signal.SIGKILL)
    texts = [file.read_text(encoding="utf-8") for file in process.files]
    shutil.rmtree(process.files[0].parent)
    return process.exitcode, *texts


def left_of(process):
    """The processes that it has started, with itself."""
    command = ["ps", "-eo", "pid=,sess="]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pairs = [map(int, line.split()) for line in listed.splitlines()]
    return [pid for pid, session in pairs if session == process.pid]


def torchrun(project, *arguments, **options):
    """Run to the end, whatever it is; the status, and what was printed."""
    return finish(begin(project, *arguments, **options))


def run_dir(save_dir):
    [found] = save_dir.glob("*/*")
    return found


def rows(save_dir):
    with open(run_dir(save_dir) / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def last(save_dir):
    return run_dir(save_dir) / "last.pth"


@pytest.fixture(scope="module")
def straight(project, tmp_path_factory):
    """Two processes, never interrupted."""
    save_dir = tmp_path_factory.mktemp("straight")
    status, out, err = torchrun(project, *arguments(save_dir))
    assert status == 0, err
    return save_dir, out, err


def test_two_processes_with_half_the_batch_give_the_same_weights(project, straight, tmp_path):
    save_dir, _, _ = straight
    succeed(*arguments(tmp_path, batch_size=64), cwd=project)
    difference = float(succeed("-c", CLOSE, last(save_dir), last(tmp_path), cwd=project))
    assert difference < 1e-4
    for one, two in zip(rows(tmp_path), rows(save_dir), strict=True):
        for key, value in one.items():
            assert float(two[key]) == pytest.approx(float(value), rel=1e-3), key


def test_validation_over_two_processes_is_that_of_one(project, straight):
    """3,405 images are an odd number: the processes have not the same."""
    save_dir, _, _ = straight
    code = (
        "import sys\nfrom parse_config import ConfigParser\nfrom train import build_trainer\n"
        "from utils import resume\nstate = resume.load(sys.argv[1])\n"
        "trainer = build_trainer(ConfigParser(state['config'], run_id='check'))\n"
        "resume.set_weights(trainer.model, state['state_dict'], '')\n"
        "trainer.config.discard_run()\n"
        "import json\nprint(json.dumps(trainer.evaluate(trainer.valid_data_loader)))\n"
    )
    found = json.loads(succeed("-c", code, last(save_dir), cwd=project).splitlines()[-1])
    row = rows(save_dir)[-1]
    assert float(row["val_accuracy"]) == pytest.approx(found["accuracy"], rel=1e-6)
    assert float(row["val_loss"]) == pytest.approx(found["loss"], rel=1e-6)


def test_one_voice(straight):
    save_dir, out, _ = straight
    assert out.count("Run directory") == 1
    assert len(re.findall(r"^epoch +1 +loss", out, re.MULTILINE)) == 1
    files = {path.name for path in run_dir(save_dir).iterdir()}
    assert "train.log" in files and not any(name.startswith("train_rank") for name in files)
    assert len(rows(save_dir)) == 2


@pytest.mark.parametrize("len_epoch", ["null", 10])
def test_each_sample_comes_once_and_a_changed_number_of_processes_goes_on(
    project, tmp_path, len_epoch
):
    """Stopped in the second epoch by a signal to one process; gone on with by four, then by one.

    Epochs are passes over the data, or ten batches each of passes that go on.
    """
    notes = tmp_path / "notes"
    notes.mkdir()
    noting = ["data_loader.type=NotingLoader", f"data_loader.args.notes={notes}"]
    noting += [f"trainer.len_epoch={len_epoch}"]
    status, out, err = torchrun(project, *arguments(tmp_path / "o", *noting), fault="1 term 12")
    assert status != 0 and "stopped by SIGTERM" in err
    seen = sorted(int(i) for note in notes.iterdir() for i in note.read_text().split())
    assert len(set(seen)) == 595
    first_epoch = 595
    assert first_epoch < len(seen) < 2 * 595
    on = ["train.py", "-r", last(tmp_path / "o")]
    status, out, err = torchrun(project, *on, n=4, fault="0 term 14")
    assert "stopped by SIGTERM" in err, err
    succeed(*on, cwd=project)
    counts = {}
    for note in notes.iterdir():
        for index in note.read_text().split():
            counts[index] = counts.get(index, 0) + 1
    assert len(counts) == 595
    times = set(counts.values())  # ten batches of four processes are more than of two
    assert times == {2} or (len_epoch != "null" and times == {1, 2})
    log = (run_dir(tmp_path / "o") / "train.log").read_text()
    changes = re.findall(r"processes: (\d) -> (\d) from step", log)
    assert changes == [("2", "4"), ("4", "1")]
    assert len(rows(tmp_path / "o")) == 2
    position = literal_eval(succeed("-c", POSITION, on[2], cwd=project))
    assert position["epoch"] == 1  # the second pass
    assert position["samples"] == 595 or len_epoch != "null"


def test_stopped_after_the_last_batch_no_sample_comes_again(project, tmp_path):
    """Two processes with 577 images: the last batch has the one that is left over, too."""
    notes = tmp_path / "notes"
    notes.mkdir()
    changes = ["data_loader.type=NotingLoader", f"data_loader.args.notes={notes}"]
    changes += ["data_loader.args.validation_split=3423", "trainer.epochs=1"]
    _, _, err = torchrun(project, *arguments(tmp_path / "o", *changes), fault="1 term 8")
    assert "step 9: stopped by SIGTERM" in err
    succeed("train.py", "-r", last(tmp_path / "o"), cwd=project)
    seen = [index for note in notes.iterdir() for index in note.read_text().split()]
    assert len(seen) == len(set(seen)) == 577
    assert len(rows(tmp_path / "o")) == 1


def test_without_the_extra_for_it_a_signal_is_answered_after_some_steps(bake, tmp_path):
    """In an essential project; with the extra the processes ask each other by the clock."""
    project = bake()
    replace(project / "trainer" / "trainer.py", "        data, target = batch\n", FAULT)
    short = arguments(tmp_path, "trainer.len_epoch=40", "trainer.epochs=1")
    status, _, err = torchrun(project, *short, fault="1 term 17")
    assert err.count("step 32: stopped by SIGTERM. Go on with") == err.count("stopped by") == 1
    status, _, err = torchrun(project, "train.py", "-r", last(tmp_path))
    assert status == 0, err
    assert len(rows(tmp_path)) == 1


@pytest.mark.parametrize("who", ["agent", "rank"])
def test_stopped_by_a_signal_and_resumed_it_ends_as_if_it_had_not_been(
    project, straight, tmp_path, who
):
    save_dir, _, _ = straight
    if who == "rank":
        status, _, err = torchrun(project, *arguments(tmp_path), fault="1 term 7")
    else:
        process = begin(project, *arguments(tmp_path, "trainer.save_every.steps=1"))
        while not any(tmp_path.glob("*/*/last.pth")):
            assert process.is_alive()
        assert len(left_of(process)) == 3  # the agent and two workers
        process.terminate()
        _, _, err = finish(process)
    assert err.count("stopped by SIGTERM") == err.count("stopped by SIGTERM. Go on with") == 1
    status, _, err = torchrun(
        project, "train.py", "-r", last(tmp_path), "trainer.save_every.steps=null"
    )
    assert status == 0, err
    assert succeed("-c", EQUAL, last(save_dir), last(tmp_path), cwd=project) == "None\n"


def test_three_processes_go_on_exactly_where_ddp_does_not_regroup_gradients(project, tmp_path):
    """As it does after its first step, unless it looks for unused parameters."""
    keep = "parallel.find_unused_parameters=true"
    for name, fault in (("straight", "0 none 0"), ("stopped", "1 term 3")):
        _, _, err = torchrun(project, *arguments(tmp_path / name, keep), n=3, fault=fault)
        assert ("stopped by SIGTERM" in err) == (name == "stopped"), err
    ends = [last(tmp_path / name) for name in ("straight", "stopped")]
    status, _, err = torchrun(project, "train.py", "-r", ends[1], n=3)
    assert status == 0, err
    assert succeed("-c", EQUAL, *ends, cwd=project) == "None\n"


def test_a_killed_process_is_started_again_and_goes_on(project, straight, tmp_path, monkeypatch):
    save_dir, _, _ = straight
    monkeypatch.setitem(ENVIRONMENT, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE", "1")
    status, _, err = torchrun(
        project, *arguments(tmp_path, "-r", "auto", "trainer.save_every.steps=4"),
        agents=["--standalone", "--max-restarts=1"], fault="1 kill 9",
    )  # fmt: skip
    assert status == 0, err
    assert succeed("-c", EQUAL, last(save_dir), last(tmp_path), cwd=project) == "None\n"


def test_an_error_on_one_rank_ends_all_and_is_shown(project, tmp_path):
    start = time.monotonic()
    status, _, err = torchrun(project, *arguments(tmp_path), fault="1 error 3")
    assert status == 1 and "the fault of this rank" in err
    assert time.monotonic() - start < 120  # no waiting for a time limit, which is 30 minutes
    log = (run_dir(tmp_path) / "train_rank1.log").read_text()
    assert "epoch 1, step 3: " in log and "the fault of this rank" in log


def test_a_bad_number_on_one_rank_stops_all(project, tmp_path):
    status, _, err = torchrun(project, *arguments(tmp_path), fault="1 nan 3")
    what = "the loss, a gradient or a weight is not finite since the last log line"
    assert status == 1 and err.count(f"step 10: {what}") == 2  # by each, at the end of the epoch
    for name in ("train.log", "train_rank1.log"):
        assert what in (run_dir(tmp_path) / name).read_text()
    assert not [*run_dir(tmp_path).glob("*.pth")]


def test_unused_parameters_are_explained(project, tmp_path):
    half = ["arch.type=HalfUsed", "arch.args={}"]
    status, _, err = torchrun(project, *arguments(tmp_path / "a", *half))
    assert status == 1 and "parallel.find_unused_parameters=true allows it" in err
    allowed = [*half, "parallel.find_unused_parameters=true", "trainer.epochs=1"]
    status, _, err = torchrun(project, *arguments(tmp_path / "b", *allowed))
    assert status == 0, err


COUNTING = """
import torch.distributed as dist
from parse_config import ConfigParser
from train import build_trainer
from utils import distributed
import sys
with distributed.process_group():
    changes = {"trainer.accumulate_steps": 4, "trainer.epochs": 1}
    changes |= dict(one.split("=") for one in sys.argv[1:])
    config = ConfigParser.from_file("config.json", changes)
    trainer = build_trainer(config)
    trainer.do_validation = False
    trainer.monitor = trainer.mnt_mode = "off"
    calls = []
    def hook(state, bucket):
        calls.append(1)
        work = dist.all_reduce(bucket.buffer().div_(2), async_op=True).get_future()
        return work.then(lambda future: future.value()[0])
    trainer.model = distributed.wrap(trainer)
    trainer.model.register_comm_hook(None, hook)
    trainer.train()
    if distributed.is_main():
        print("CALLS", len(calls), "STEPS", trainer.step, "BATCHES", trainer.len_epoch)
"""


def test_accumulation_communicates_once_a_step(project, tmp_path):
    script = tmp_path / "counting.py"
    script.write_text("import os, sys\nsys.path.insert(0, os.getcwd())\n" + COUNTING)
    status, out, err = torchrun(project, str(script), f"trainer.save_dir={tmp_path}")
    assert status == 0, err
    calls, steps, batches = map(
        int, re.search(r"CALLS (\d+) STEPS (\d+) BATCHES (\d+)", out).groups()
    )
    assert steps == -(-batches // 4) and calls <= 2 * steps < batches


def test_two_agents(project, straight, tmp_path):
    """As two machines would, each with a process of its own."""
    save_dir, _, _ = straight
    agents = "--nnodes=2 --rdzv-backend=c10d --rdzv-endpoint=localhost:0 --rdzv-id=two".split()
    import socket

    with socket.socket() as free:
        free.bind(("localhost", 0))
        agents[2] = f"--rdzv-endpoint=localhost:{free.getsockname()[1]}"
    for process in [begin(project, *arguments(tmp_path), n=1, agents=agents) for _ in range(2)]:
        status, _, err = finish(process)
        assert status == 0, err
    assert succeed("-c", EQUAL, last(save_dir), last(tmp_path), cwd=project) == "None\n"


def test_early_stopping_together(project, tmp_path):
    stopping = ["trainer.epochs=6", "trainer.early_stop=1", "optimizer.args.lr=0.0"]
    status, out, err = torchrun(project, *arguments(tmp_path, *stopping))
    assert status == 0, err
    assert "No better val_loss for 1 epochs" in out and len(rows(tmp_path)) == 2


# A trainer as older projects have them, with a loop and a loader of its own
OWN_LOOP = """
import sys, torch
from base import BaseTrainer
from parse_config import ConfigParser
from torch.utils.data import DataLoader, TensorDataset
from train import build_model
from utils import distributed

class OwnTrainer(BaseTrainer):
    def _train_epoch(self, epoch):
        data = torch.randn(64, 1, 28, 28), torch.randint(10, (64,))  # others in each process
        for images, labels in DataLoader(TensorDataset(*data), batch_size=16):
            self.optimizer.zero_grad()
            loss = self.criterion(self.model(images), labels)
            loss.backward()
            self.optimizer.step()
        return {"loss": loss, "val_loss": distributed.rank() * (-1) ** epoch}

with distributed.process_group():
    changes = {"trainer.save_dir": sys.argv[1], "trainer.epochs": 3, "device": "cpu"}
    config = ConfigParser.from_file("config.json", changes)
    _, model, criterion, metrics = build_model(config)
    optimizer = torch.optim.Adam(model.parameters())
    OwnTrainer(model, criterion, metrics, optimizer, config).train()
    sums = distributed.all_gather(sum(float(p.detach().double().sum()) for p in model.parameters()))
    assert sums[0] == sums[1], sums
"""


@pytest.mark.parametrize("starter", STARTER_FILES)
def test_each_starter_trains_with_several_processes(bake, tmp_path, starter):
    """Also with a last batch of one sample each, batch norm and two optimizers."""
    more = ["-d", "cpu", "trainer.epochs=2", f"trainer.save_dir={tmp_path}", "trainer.report=false"]
    project = bake(starter=starter)
    status, out, err = torchrun(project, "train.py", "-c", "config.json", *more)
    assert status == 0 and "Warning" not in err, err
    assert len(rows(tmp_path)) == 2
    has_batch_norm = "BatchNorm" in (project / "model/model.py").read_text(encoding="utf-8")
    assert out.count("batch norm is of each process") == has_batch_norm


# A GAN's trainer that ends where the weights of two processes differ
COMPARING = """
    def _train_epoch(self, epoch):
        log = super()._train_epoch(epoch)
        sums = {tuple(float(p.detach().double().sum()) for p in self.model.parameters())}
        assert len(sums.union(*distributed.all_gather(sums))) == 1
        return log
"""


def test_two_optimizers_learn_the_same_in_all_processes(bake, tmp_path):
    project = bake(starter="gan")
    with (project / "trainer" / "gan_trainer.py").open("a") as file:
        file.write(COMPARING)
    more = ["-d", "cpu", "trainer.epochs=1", "trainer.len_epoch=10", f"trainer.save_dir={tmp_path}"]
    status, _, err = torchrun(project, "train.py", "-c", "config.json", *more)
    assert status == 0, err


def test_a_trainer_with_a_loop_of_its_own(project, tmp_path):
    """Gradients are averaged for it too; which epoch is the best, the main process says."""
    script = tmp_path / "own.py"
    script.write_text("import os, sys\nsys.path.insert(0, os.getcwd())\n" + OWN_LOOP)
    status, _, err = torchrun(project, str(script), str(tmp_path / "saved"))
    assert status == 0, err
    assert {float(row["val_loss"]) for row in rows(tmp_path / "saved")} == {0}


def test_each_process_may_have_batches_of_its_own(project, tmp_path):
    """A list, in place of a loader that knows its part of the data."""
    overfit = ["--overfit-batches=2", "data_loader.args.shuffle=false"]
    status, out, err = torchrun(project, *arguments(tmp_path, *overfit))
    assert status == 0, err
    assert len(rows(tmp_path)) == 2


def test_what_is_for_one_process_says_so_and_testing_is_not(project, straight):
    save_dir, _, _ = straight
    status, out, err = torchrun(project, "train.py", "--check")
    assert status != 0 and out == ""
    assert err.count("--check is for one process: start it with python, not with torchrun\n") == 1
    status, out, err = torchrun(project, "test.py", "-d", "cpu", "-r", last(save_dir))
    assert status == 0, err
    assert out == succeed("test.py", "-d", "cpu", "-r", last(save_dir), cwd=project)


def test_a_step_that_one_rank_cannot_take_is_skipped_by_all(project, tmp_path):
    skip = arguments(tmp_path, "trainer.non_finite=skip")
    status, out, err = torchrun(project, *skip, fault="1 loss 3")
    assert status == 0, err
    assert out.count("step 3 skipped") == 1
    assert "step 3 skipped" in (run_dir(tmp_path) / "train_rank1.log").read_text()


def test_mistakes_are_told_once(project, tmp_path):
    status, _, err = torchrun(project, *arguments(tmp_path, "optimizer.args.lrr=1"))
    assert status != 0
    assert err.count("optimizer.args.lrr: unknown key") == 1
    assert not list(tmp_path.iterdir())
    known_late = arguments(tmp_path / "saved", "parallel.sync_batch_norm=true")
    status, _, err = torchrun(project, *known_late)
    assert status != 0
    assert err.count("parallel.sync_batch_norm: works on GPUs only\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_mistake_in_one_rank_is_told_by_it(project, tmp_path):
    status, _, err = torchrun(project, *arguments(tmp_path), fault="1 user 3")
    assert status != 0
    told = re.findall(
        r"^rank 1: epoch 1, step [0-9]+: a mistake in the data of this rank\. ", err, re.M
    )
    assert len(told) == err.count("a mistake in the data of this rank. ") == 1


FSDP = ["parallel.type=fsdp", 'parallel.blocks=["Linear"]', 'parallel.recompute=["Conv2d"]']
FSDP += ["trainer.clip_grad_norm=1e6"]  # which changes nothing but has to be worked out
WHOLE = f"""{LOAD}
parts = ("state_dict", "optimizer", "step")
print(first_difference(*({{key: one[key] for key in parts}} for one in (a, b))))
"""


@pytest.fixture(scope="module")
def sharded(project, tmp_path_factory):
    save_dir = tmp_path_factory.mktemp("sharded")
    status, out, err = torchrun(project, *arguments(save_dir, *FSDP))
    assert status == 0, err
    return save_dir


def test_sharded_weights_train_as_whole_ones(project, straight, sharded):
    save_dir, _, _ = straight
    difference = float(succeed("-c", CLOSE, last(save_dir), last(sharded), cwd=project))
    assert difference < 1e-4
    assert len(list(last(sharded).glob("__*_0.distcp"))) == 2  # each process has written its part


def test_a_sharded_run_is_resumed_exactly(project, sharded, tmp_path):
    status, _, err = torchrun(project, *arguments(tmp_path, *FSDP), fault="1 term 12")
    assert "stopped by SIGTERM" in err, err
    # By processes that read their own parts: they cannot read all of it
    copy = shutil.copytree(project, tmp_path.with_name(f"{tmp_path.name}-project"))
    replace(copy / "tools" / "fsdp.py", "dcp_to_torch_save(folder, ", "exit(")
    status, _, err = torchrun(copy, "train.py", "-r", last(tmp_path), "trainer.report=false")
    assert status == 0, err
    assert succeed("-c", WHOLE, last(sharded), last(tmp_path), cwd=project) == "None\n"


def test_checkpoints_move_between_one_process_ddp_and_fsdp(project, straight, sharded, tmp_path):
    """A third epoch, from each kind of checkpoint in each other way: always nearly the same."""
    ends = []
    for kind, origin in (("ddp", straight[0]), ("fsdp", sharded)):
        for way in ("one", "ddp", "fsdp"):
            copy = tmp_path / f"{kind}-{way}"
            shutil.copytree(run_dir(origin), copy / "name" / "run")
            more = ["trainer.epochs=3", f"parallel.type={'fsdp' if way == 'fsdp' else 'ddp'}"]
            path = last(copy)
            if kind == "fsdp" and way != "fsdp":
                path = succeed("train.py", "--unshard", path, cwd=project).strip()
            if way == "one":
                succeed("train.py", "-r", path, *more, cwd=project)
            else:
                status, _, err = torchrun(project, "train.py", "-r", path, *more)
                assert status == 0, err
            ends.append(last(copy))
    for end in (ends[1], ends[2], ends[4], ends[5]):  # of two processes, all
        assert float(succeed("-c", CLOSE, ends[1], end, cwd=project)) < 1e-3


def test_one_file_of_a_sharded_checkpoint(project, sharded):
    out = succeed("train.py", "--unshard", last(sharded), cwd=project)
    assert out == f"{run_dir(sharded) / 'last_whole.pth'}\n"
    assert succeed("-c", WHOLE, last(sharded), out.strip(), cwd=project) == "None\n"
    table = succeed("test.py", "-r", out.strip(), cwd=project)
    accuracy = re.search(r"^accuracy +([\d.]+)", table, re.MULTILINE)
    assert float(accuracy[1]) > 0.5


@pytest.mark.parametrize("script", ["train.py", "test.py"])
def test_what_takes_a_file_says_how_to_make_one_of_a_sharded_checkpoint(project, sharded, script):
    done = python(script, "-r", last(sharded), "parallel.type=ddp", cwd=project)
    how = f"is sharded; python train.py --unshard {last(sharded)} makes a file of it\n"
    assert (done.returncode, done.stderr) == (2, f"{last(sharded)}: {how}")
