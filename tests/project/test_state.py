"""What a run takes up again, also within an epoch: objects, the place in the data, metrics."""

import copy
import signal
from collections import Counter, OrderedDict

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from base import BaseDataLoader
from tools.check import refuse_lists
from trainer.trainer import Trainer
from utils import MetricTracker, UserError, checkpoint, distributed, resume
from utils.errors import RunError

N = 24
STEPS = 6  # in an epoch, of 4 samples each


def dataset():
    x = torch.arange(float(N))[:, None]
    return TensorDataset(x, x)


class Noting(Trainer):
    """Notes the samples that it sees."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.seen = []

    def train_step(self, batch):
        self.seen += batch[0].flatten().tolist()
        return super().train_step(batch)


def stop_after(trainer, step):
    """Train until so many steps are done, as if SIGTERM came then; the checkpoint it leaves."""
    save_or_stop_if_due = trainer._save_or_stop_if_due

    def stop_or_go_on():
        if trainer.step == step:
            trainer.stop_signals.received = signal.SIGTERM
        save_or_stop_if_due()

    trainer._save_or_stop_if_due, trainer.asks_each_step = stop_or_go_on, True
    with pytest.raises(RunError, match="SIGTERM"):
        trainer.train()
    return trainer.checkpoint_dir / "last.pth"


@pytest.fixture
def make(make_config):
    """A trainer of a small model on 24 numbers, three epochs long."""

    def make(loader, kind=Noting, metrics=(), changes=None, **kwargs):
        short = {"trainer.monitor": "off", "trainer.epochs": 3, "trainer.len_epoch": None}
        config = make_config(short | (changes or {}), **kwargs)
        torch.manual_seed(0)
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), 1e-4)
        loss = nn.functional.mse_loss
        return kind(model, loss, [*metrics], optimizer, config, "cpu", loader)

    return make


def ours():
    return BaseDataLoader(dataset(), 4, True, 0, 0)


# Objects


class Memory:
    """A state of the user's own."""

    def __init__(self):
        self.factor, self.seen = 1.0, torch.zeros(2)

    def state_dict(self):
        return {"factor": self.factor, "seen": self.seen}

    def load_state_dict(self, state):
        self.factor, self.seen = state["factor"], state["seen"]


class Remembering(Noting):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.memory = self.state["mine"] = Memory()
        self.state["several"] = {"a": Memory(), "b": Memory()}

    def train_step(self, batch):
        self.memory.factor *= 0.9
        self.memory.seen += batch[0].sum()
        self.state["several"]["b"].factor += 1
        output = self.model(batch[0])
        loss = self.criterion(output, batch[1]) * self.memory.factor
        self.optimize(loss)
        return {"loss": loss}


@pytest.mark.parametrize("step", [1, 4, STEPS, STEPS + 1])
def test_a_state_of_the_users_own_is_kept(make, step):
    straight = make(ours(), Remembering)
    straight.train()
    last = stop_after(make(ours(), Remembering), step)
    saved = resume.load(last)
    assert saved["mine"]["factor"] == pytest.approx(0.9**step)
    resumed = make(ours(), Remembering, resume=last)
    resumed.train()
    assert torch.equal(resumed.model.weight, straight.model.weight)
    assert resumed.memory.factor == straight.memory.factor
    assert torch.equal(resumed.memory.seen, straight.memory.seen)
    assert resumed.state["several"]["b"].factor == 1 + 3 * STEPS
    assert resumed.seen == straight.seen[4 * step :]


def test_a_state_that_an_older_checkpoint_lacks_begins_anew(make):
    last = stop_after(make(ours()), 4)
    assert make(ours(), Remembering, resume=last).train()["epoch"] == 3


def test_a_switch_that_was_off_can_be_turned_on(make):
    """The scaler of the checkpoint has an empty state then."""
    last = stop_after(make(ours()), 4)
    changes = {"trainer.precision": "fp16", "trainer.ema": 0.9}
    assert make(ours(), changes=changes, resume=last).train()["epoch"] == 3


class Broken(Memory):
    def state_dict(self):
        return {"parts": [{"where": {1, 2}}]}


@pytest.mark.parametrize(
    ("name", "thing", "expected"),
    [
        ("mine", Broken(), r"mine.parts\[0\].where is a set"),
        ("mine", 5, "has no attribute 'state_dict'"),
        ("epoch", Memory(), "a checkpoint has a key 'epoch' of its own"),
    ],
)
def test_a_state_that_no_checkpoint_can_hold_is_refused_before_training(
    make, name, thing, expected
):
    trainer = make(ours())
    trainer.state[name] = thing
    with pytest.raises(UserError, match=expected):
        trainer.train()
    assert trainer.step == 0 and not trainer.checkpoint_dir.exists()


def test_what_code_sets_in_the_config_is_not_kept(make):
    """It sets the same again where the run goes on, such as a logger, which no file can hold."""
    trainer = make(ours())
    trainer.config["data_loader"]["args"]["log"] = {"to": trainer.logger}
    trainer.train()
    kept = resume.load(trainer.checkpoint_dir / "last.pth")["config"]
    assert kept == trainer.config.given and "log" not in kept["data_loader"]["args"]


class InLists(nn.Linear):
    """Keeps modules in a plain list."""

    def __init__(self, *others):
        super().__init__(1, 1)
        self.others = [self, *others]


def test_parameters_in_a_plain_list_are_refused_where_they_would_learn(make):
    frozen = nn.Linear(1, 1).requires_grad_(False)
    trainer = make(ours())
    for hidden in (nn.Linear(1, 1), nn.Parameter(torch.ones(1))):
        trainer.model.inner = InLists(hidden)
        with pytest.raises(UserError, match=r"^model\.inner\.others: a list of .* nn.ModuleList"):
            trainer.train()
        assert trainer.step == 0 and not trainer.checkpoint_dir.exists()
    for harmless in (nn.ReLU(), frozen, "text"):
        trainer.model.inner = InLists(harmless)
        refuse_lists(trainer.model)


# The place in the data


class Walk:
    """Gives batches in a new order in each pass, and knows where it is; no DataLoader."""

    def __init__(self):
        self.data = dataset()[:]
        self.generator = torch.Generator().manual_seed(5)
        self.order, self.position = None, 0

    def __len__(self):
        return STEPS

    def __iter__(self):
        if self.order is None:
            self.order, self.position = torch.randperm(N, generator=self.generator), 0
        while self.position < N:
            indices = self.order[self.position : self.position + 4]
            self.position += 4
            yield self.data[0][indices], self.data[1][indices]
        self.order = None

    def state_dict(self):
        generator = self.generator.get_state()
        return {"order": self.order, "position": self.position, "generator": generator}

    def load_state_dict(self, state):
        self.order, self.position = state["order"], state["position"]
        self.generator.set_state(state["generator"])


LENGTHS = [{}, {"trainer.len_epoch": 4}, {"trainer.len_epoch": 9}]


@pytest.mark.parametrize("make_loader", [ours, Walk])
@pytest.mark.parametrize("changes", LENGTHS, ids=str)
@pytest.mark.parametrize("step", [3, STEPS, 8, 11])
def test_a_loader_with_a_state_goes_on_exactly_where_it_was(make, make_loader, changes, step):
    straight = make(make_loader(), changes=changes)
    straight.train()
    stopped = make(make_loader(), changes=changes)
    last = stop_after(stopped, step)
    assert stopped.seen == straight.seen[: 4 * step]
    resumed = make(make_loader(), changes=changes, resume=last)
    resumed.train()
    assert resumed.seen == straight.seen[4 * step :]
    assert torch.equal(resumed.model.weight, straight.model.weight)
    n_passes, rest = divmod(len(straight.seen), N)
    for n in range(n_passes):
        assert sorted(straight.seen[n * N : (n + 1) * N]) == dataset()[:][0].flatten().tolist()
    assert rest == (0 if not changes else 4 * 3 * changes["trainer.len_epoch"] % N)


@pytest.mark.parametrize("make_loader", [ours, Walk])
def test_a_loader_with_a_state_goes_on_from_the_end_of_an_epoch(make, make_loader):
    straight = make(make_loader())
    straight.train()
    first = straight.checkpoint_dir / "checkpoint-epoch1.pth"
    resumed = make(make_loader(), resume=first)
    resumed.train()
    assert resumed.seen == straight.seen[N:]


def stateless():
    return DataLoader(dataset(), 4)


AGAIN = "No state of the data loader: its pass starts again, samples may come twice in"


def told(caplog):
    return [line for line in caplog.messages if "its pass starts again" in line]


def test_a_loader_without_a_state_starts_its_pass_again_and_the_run_says_so(make, caplog):
    last = stop_after(make(stateless()), STEPS + 4)
    assert not told(caplog)
    resumed = make(stateless(), resume=last)
    resumed.train()
    assert told(caplog) == [f"{AGAIN} epoch 2"]
    numbers = dataset()[:][0].flatten().tolist()
    assert resumed.seen == numbers[:8] + numbers  # the two steps that are left, and epoch 3
    assert (resumed.step, AGAIN in (last.parent / "train.log").read_text()) == (3 * STEPS, True)


def test_at_the_end_of_an_epoch_nothing_comes_twice_unless_epochs_are_no_passes(make, caplog):
    for changes, expected in (({}, []), ({"trainer.len_epoch": 4}, [f"{AGAIN} epoch 2"])):
        first = make(stateless(), changes=changes)
        first.train()
        path = first.checkpoint_dir / "checkpoint-epoch1.pth"
        make(stateless(), changes=changes, resume=path).train()
        assert told(caplog) == expected


def test_a_checkpoint_without_a_state_of_the_loader_is_told_too(make, caplog):
    last = stop_after(make(stateless()), STEPS + 4)
    resumed, straight = make(ours(), resume=last), make(ours())
    resumed.train()
    assert told(caplog) == [f"{AGAIN} epoch 2"]
    straight.train()
    assert sorted(resumed.seen[:N]) == dataset()[:][0].flatten().tolist()
    assert resumed.seen[N:] == straight.seen[2 * N :]  # the pass of epoch 3


def add_ranks(path, n):
    """Let a checkpoint be that of `n` processes."""
    state = resume.load(path)
    own = {key: state[key] for key in ("random", "train_metrics", "data_loader")}
    checkpoint.save(state | {"ranks": [own] * (n - 1)}, path)


def test_a_state_of_each_process_is_for_as_many_processes(make, capsys):
    last = stop_after(make(Walk()), 4)
    add_ranks(last, 2)
    before = {path.name for path in last.parent.iterdir()}
    with pytest.raises(UserError) as caught:
        make(Walk(), resume=last).train()
    expected = "a Walk has a state in each process: go on with 2 of them, not with 1"
    assert str(caught.value) == f"{last}: {expected}"
    assert {path.name for path in last.parent.iterdir()} == before
    last = stop_after(make(ours()), 4)  # whose state is the same in all
    add_ranks(last, 2)
    assert make(ours(), resume=last).train()["epoch"] == 3


# Metrics that collect


class Seen:
    """Collects; `merge` takes in what another process has."""

    def reset(self):
        self.values = []

    def update(self, output, target):
        self.values += target.flatten().tolist()

    def compute(self):
        return sum(self.values)

    def merge(self, state):
        self.values += state["values"]


def restore(trainer, path, monkeypatch, rank, world_size):
    with monkeypatch.context() as patch:
        patch.setattr(distributed, "rank", lambda: rank)
        patch.setattr(distributed, "world_size", lambda: world_size)
        trainer._resume_checkpoint(path)


def test_without_the_extra_another_number_of_processes_is_refused(make, monkeypatch):
    last = stop_after(make(ours()), 4)
    add_ranks(last, 2)
    before = {path.name for path in last.parent.iterdir()}
    monkeypatch.setattr("utils.extras.load_callbacks", list)
    line = "is of 2 processes, not of 1: this is in the full project: "
    with pytest.raises(UserError, match=f"^{last}: {line}"):
        make(ours(), resume=last).train()
    assert {path.name for path in last.parent.iterdir()} == before


def test_what_was_measured_counts_once_with_more_or_fewer_processes(make, monkeypatch):
    last = stop_after(make(ours(), metrics=[Seen()]), 4)
    state = resume.load(last)
    expected = (sums := state["train_metrics"]["sums"]["loss"])[0] > 0 and sums[1] == 16
    assert expected
    for rank, n in ((0, 1), (1, 0)):
        trainer = make(ours(), metrics=[Seen()], resume=last)
        restore(trainer, last, monkeypatch, rank, 2)
        assert trainer.train_metrics.sums().get("loss", (0, 0))[1] == 16 * n
        assert len(trainer.train_metrics.collectors[0].values) == 16 * n
    add_ranks(last, 3)
    for rank, n in ((0, 2), (1, 1)):
        trainer = make(ours(), metrics=[Seen()], resume=last)
        restore(trainer, last, monkeypatch, rank, 2)
        assert trainer.train_metrics.sums()["loss"] == (sums[0] * n, 16 * n)
        assert len(trainer.train_metrics.collectors[0].values) == 16 * n


def test_a_metric_without_merge_cannot_go_on_with_fewer_processes(make):
    class Alone(Seen):
        merge = property()

    last = stop_after(make(ours(), metrics=[Alone()]), 4)
    add_ranks(last, 2)
    with pytest.raises(UserError, match="Alone cannot take in what another process has collected"):
        make(ours(), metrics=[Alone()], resume=last).train()


def test_other_metrics_within_an_epoch_collect_from_there_on(make):
    class More(Seen):
        pass

    last = stop_after(make(ours(), metrics=[Seen()]), 2)
    resumed = make(ours(), metrics=[More(), Seen()], changes={"trainer.epochs": 1}, resume=last)
    log = resumed.train()
    assert log["Seen"] == sum(range(N)) and log["More"] == sum(resumed.seen)


class AllKinds(Seen):
    """Has an attribute of each kind that a checkpoint can hold."""

    def reset(self):
        super().reset()
        self.tensor, self.long = torch.zeros(2), torch.zeros((), dtype=torch.long)
        self.number, self.flag, self.nothing, self.text = 0, False, None, ""
        self.pair, self.nested = (0, "a"), {"a": [{1: 2.5}], ("b", 1): None}
        self.ordered, self.counter = OrderedDict(a=1), Counter({3: -1, 4: 0})
        self.array = np.zeros((2, 3), np.float32, order="F")
        self.bits = np.array([True, False])
        self.none = np.zeros((0, 2), np.int16)
        self.turned = np.arange(6, dtype=np.uint8)[::-2]
        self.single, self.count, self.complex = np.float32(0), np.int64(0), np.complex64(1j)
        self.inside = {"arrays": [np.zeros(2, np.complex128)], "scalar": (np.float16(2),)}

    def update(self, output, target):
        super().update(output, target)
        self.tensor += target.mean()
        self.long += len(target)
        self.number, self.flag, self.text = self.number + 1, True, f"{self.text}{self.number}"
        self.pair, self.array = (self.number, "b"), self.array + np.float32(0.1)
        self.inside["arrays"][0] += 1j
        self.single, self.count = self.single + np.float32(0.1), self.count + 1
        self.counter[5] += 1


def exact(a, b):
    if isinstance(a, (np.ndarray, np.generic)):
        assert type(a) is type(b) and a.dtype == b.dtype and a.shape == b.shape
        np.testing.assert_array_equal(a, b)
    elif isinstance(a, torch.Tensor):
        assert type(a) is type(b) and a.dtype == b.dtype and torch.equal(a, b)
    elif isinstance(a, dict):
        assert type(a) is type(b) and [*a] == [*b]
        for key in a:
            exact(a[key], b[key])
    elif isinstance(a, (list, tuple)):
        assert type(a) is type(b) and len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            exact(one, other)
    else:
        assert type(a) is type(b) and a == b


def test_a_metric_has_its_attributes_again_within_an_epoch(make):
    changes = {"trainer.epochs": 1}
    straight = make(ours(), metrics=[AllKinds()], changes=changes)
    straight.train()
    stopped = make(ours(), metrics=[AllKinds()], changes=changes)
    last = stop_after(stopped, 4)
    resumed = make(ours(), metrics=[AllKinds()], changes=changes, resume=last)
    resumed._resume_checkpoint(last)
    exact(vars(stopped.train_metrics.collectors[0]), vars(resumed.train_metrics.collectors[0]))
    resumed = make(ours(), metrics=[AllKinds()], changes=changes, resume=last)
    resumed.train()
    exact(vars(straight.train_metrics.collectors[0]), vars(resumed.train_metrics.collectors[0]))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({1, 2}, r"train_metrics.collected.Bad.a is a set"),
        ({"b": [0, object()]}, r"train_metrics.collected.Bad.a.b\[1\] is a object"),
        (np.array(["a"]), r"train_metrics.collected.Bad.a is a ndarray"),
        (lambda: 0, r"train_metrics.collected.Bad.a is a function"),
    ],
    ids=["set", "object", "texts", "function"],
)
def test_a_metric_that_no_checkpoint_can_hold_is_refused_before_training(make, value, expected):
    class Bad(Seen):
        def reset(self):
            super().reset()
            self.a = value

    trainer = make(ours(), metrics=[Bad()])
    with pytest.raises(UserError, match=expected):
        trainer.train()
    assert trainer.step == 0 and not trainer.checkpoint_dir.exists()


def test_a_metric_with_a_state_dict_of_its_own_is_asked(make):
    class Own(Seen):
        handle = {1, 2}  # would be refused

        def __init__(self):
            self.lock = {3}

        def state_dict(self):
            return {"so_far": [*self.values], "array": np.array(self.values)}

        def load_state_dict(self, state):
            assert state["array"].tolist() == state["so_far"]
            self.values = state["so_far"]

    changes = {"trainer.epochs": 1}
    last = stop_after(make(ours(), metrics=[Own()], changes=changes), 4)
    log = make(ours(), metrics=[Own()], changes=changes, resume=last).train()
    assert log["Own"] == sum(range(N))


def test_a_metric_is_on_its_device_again():
    """Those of its tensors that were: here `meta` stands for a GPU."""
    meta = torch.device("meta")
    state = checkpoint.pack({"values": [torch.zeros(2, device=meta), torch.ones(3)]}, meta)
    state["values"][0] = torch.zeros(2)  # as a checkpoint is read
    values = resume.unpack(state, meta)["values"]
    assert [one.device.type for one in values] == ["meta", "cpu"]


class OnBoth(Seen):
    """Collects on the device of the model, and copies on the CPU."""

    def reset(self):
        self.values, self.copies, self.total = [], [], 0

    def update(self, output, target):
        self.values.append(target)
        self.copies.append(target.cpu())
        self.total = self.total + target.sum()

    def compute(self):
        assert torch.equal(torch.cat(self.values).cpu(), torch.cat(self.copies))
        return self.total


def samples_of(metric):
    """How many samples a metric has collected, and where it has them."""
    if isinstance(metric, OnBoth):
        return sum(map(len, metric.values)), {one.device.type for one in metric.values}
    if hasattr(metric, "preds"):
        return sum(map(len, metric.preds)), {one.device.type for one in metric.preds}
    return int((metric.tp + metric.fn).sum()), {metric.tp.device.type}


MOVES = [(kind, "cuda", after) for kind in (None, "sums", "lists") for after in ("cuda", "cpu")]
MOVES += [("sums", "cpu", "cuda"), ("lists", "cpu", "cuda")]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("kind", "before", "after"), MOVES)
def test_metrics_go_on_where_the_model_is(make_trainer, kind, before, after):
    def trainer(device, **kwargs):
        changes = {"trainer.monitor": "off", "trainer.epochs": 1, "device": device}
        plain = make_trainer(changes, **kwargs)
        metric = OnBoth() if kind is None else torchmetrics_of(kind).to(device)
        parts = plain.model, plain.criterion, [metric], plain.optimizer, plain.config
        return Trainer(*parts, device, plain.data_loader)

    resumed = trainer(after, resume=stop_after(trainer(before), 3))
    resumed.train()
    assert samples_of(resumed.train_metrics.collectors[0]) == (4 * 64, {after})


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(("before", "after"), [("cuda", "cuda"), ("cuda", "cpu"), ("cpu", "cuda")])
def test_the_state_of_a_loader_stays_on_the_cpu(make, before, after):
    """Such as that of its generator."""

    def trainer(device, **kwargs):
        plain = make(Walk(), changes={"device": device}, **kwargs)
        parts = plain.model, plain.criterion, [], plain.optimizer, plain.config
        return Noting(*parts, device, plain.data_loader)

    straight = trainer(before)
    straight.train()
    resumed = trainer(after, resume=stop_after(trainer(before), 3))
    resumed.train()
    assert resumed.seen == straight.seen[12:]


NAMES = {"sums": "MulticlassAccuracy", "lists": "MulticlassAUROC"}
NAMES |= {"inner metrics": "CompositionalMetric", "shared states": "MetricCollection_"}


def torchmetrics_of(kind):
    """A new metric of torchmetrics with states of this kind."""
    tm = pytest.importorskip("torchmetrics")
    options = {"task": "multiclass", "num_classes": 10}
    if kind == "sums":
        return tm.Accuracy(**options)
    if kind == "lists":
        return tm.AUROC(**options)
    if kind == "shared states":
        return tm.MetricCollection([tm.Precision(**options), tm.Recall(**options)])
    return tm.F1Score(**options) + tm.CohenKappa(**options)


@pytest.mark.parametrize("step", [1, 3, 4, 6])
@pytest.mark.parametrize("kind", ["sums", "lists", "inner metrics", "shared states"])
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")  # at step 4
def test_metrics_of_torchmetrics_go_on_within_an_epoch(make_trainer, kind, step):
    """After step 4 without another update in the epoch."""

    def trainer(**kwargs):
        plain = make_trainer({"trainer.monitor": "off"}, **kwargs)
        parts = plain.model, plain.criterion, [torchmetrics_of(kind)], plain.optimizer, plain.config
        loaders = plain.data_loader, plain.valid_data_loader, plain.lr_scheduler
        return Trainer(*parts, "cpu", *loaders)

    straight = trainer()
    expected = straight.train()
    last = stop_after(trainer(), step)
    resumed = trainer(resume=last)
    assert resumed.train() == expected
    assert any(value > 0 for name, value in expected.items() if name.startswith(NAMES[kind]))


def test_metrics_of_a_collection_that_share_a_state_all_have_it():
    """They do while the first alone is updated, as these two are, whose states are replaced."""
    tm = pytest.importorskip("torchmetrics")
    generator = torch.Generator().manual_seed(0)
    batches = [torch.rand(2, 8, generator=generator) for _ in range(3)]

    def tracker():
        members = [tm.PearsonCorrCoef(), tm.ConcordanceCorrCoef()]
        return MetricTracker(metrics=[tm.MetricCollection(members)])

    straight, resumed = tracker(), tracker()
    for batch in batches[:2]:
        straight.collectors[0].update(*batch)
    resumed.load_state_dict(checkpoint.to_plain(copy.deepcopy(straight.state_dict())))
    for one in (straight, resumed):
        one.collectors[0].update(*batches[2])
    assert resumed.result() == straight.result()
