"""How many samples a batch has, which weighs all means, and which metrics a phase adds to."""

import random
import time
from collections import namedtuple
from itertools import islice

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import (
    DataLoader,
    DistributedSampler,
    Sampler,
    TensorDataset,
    WeightedRandomSampler,
)
from torch.utils.data.dataloader import default_collate

from base import BaseDataLoader
from trainer.trainer import Trainer
from utils import UserError
from utils.errors import RunError
from utils.inferred import count_samples

LENGTHS = [5, 5, 3]  # of 13 samples in batches of 5
WHOLE = {"trainer.monitor": "off", "trainer.epochs": 1, "trainer.len_epoch": None}
Pair = namedtuple("Pair", "x y")


def images(n=13):
    """(3, 4, 4) images with a number each, in double precision."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(n, 3, 4, 4, generator=generator, dtype=torch.double)
    return TensorDataset(x, x.flatten(1).sum(1, keepdim=True))


def as_tuple(samples):
    """A batch as of a detection model: a tuple of images, and their targets."""
    return tuple(x for x, _ in samples), torch.stack([y for _, y in samples])


def model():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 1)).double()


class Detector(Trainer):
    """Takes a tuple of images; notes how many samples it was told."""

    def train_step(self, batch):
        data, target = batch
        output = self.model(torch.stack(data))
        loss = self.criterion(output, target)
        self.optimize(loss)
        return {"loss": loss, **self.measure(output, target)}

    def valid_step(self, batch):
        data, target = batch
        output = self.model(torch.stack(data))
        return {"loss": self.criterion(output, target), **self.measure(output, target)}


def trainer_of(kind, config, loader, valid_loader=None, lr=0.0, metrics=()):
    net = model()
    optimizer = torch.optim.SGD(net.parameters(), lr)
    loss = nn.functional.mse_loss
    return kind(net, loss, [*metrics], optimizer, config, "cpu", loader, valid_loader)


def loss_of_all(dataset):
    x, y = dataset[:]
    return nn.functional.mse_loss(model()(x), y)


@pytest.mark.parametrize("workers", [0, 1])
def test_means_are_weighted_by_the_samples_that_made_a_batch(make_config, workers):
    """Not by the length of its first image, which is that of its colours."""
    loader = BaseDataLoader(images(), 5, True, 0, workers, as_tuple)
    valid = BaseDataLoader(images(16), 5, False, 13, 0, as_tuple).split_validation()
    trainer = trainer_of(Detector, make_config(WHOLE), loader, valid)
    expected = loss_of_all(images()).item()
    log = trainer.train()
    assert log["loss"] == pytest.approx(expected, rel=1e-12)
    x, y = valid.dataset[valid.batch_sampler.sampler.indices]
    by_hand = nn.functional.mse_loss(model()(x), y).item()
    assert log["val_loss"] == pytest.approx(by_hand, rel=1e-12)


def channels_first(samples):
    """A batch whose fields do not say how many samples it has."""
    x, y = default_collate(samples)
    return x.transpose(0, 1), y


def test_a_loader_of_ours_knows_how_many_whatever_is_in_a_batch(make_config):
    class Own(Trainer):
        def train_step(self, batch):
            return super().train_step((batch[0].transpose(0, 1), batch[1]))

        def valid_step(self, batch):
            return super().valid_step((batch[0].transpose(0, 1), batch[1]))

    loader = BaseDataLoader(images(), 5, True, 0, 0, channels_first)
    valid = BaseDataLoader(images(14), 5, False, 13, 0, channels_first).split_validation()
    log = trainer_of(Own, make_config(WHOLE), loader, valid).train()
    assert log["loss"] == pytest.approx(loss_of_all(images()).item(), rel=1e-12)
    held_out = TensorDataset(*images(14)[valid.batch_sampler.sampler.indices])
    assert log["val_loss"] == pytest.approx(loss_of_all(held_out).item(), rel=1e-12)


@pytest.mark.parametrize("loader_type", [BaseDataLoader, DataLoader])
def test_unequal_batches_accumulate_to_the_gradient_of_one(make_config, loader_type):
    """So do those of a loader that is not ours, where the fields of a batch agree."""
    if loader_type is BaseDataLoader:
        loader = BaseDataLoader(images(), 5, True, 0, 0, as_tuple)
    else:
        loader = DataLoader(images(), 5, collate_fn=as_tuple)
    config = make_config(WHOLE | {"trainer.accumulate_steps": 3})
    trainer = trainer_of(Detector, config, loader, lr=0.01)
    trainer.train()
    by_hand = model()
    x, y = images()[:]
    nn.functional.mse_loss(by_hand(x), y).backward()
    for one, other in zip(trainer.model.parameters(), by_hand.parameters(), strict=True):
        torch.testing.assert_close(one, other - 0.01 * other.grad, rtol=1e-12, atol=1e-14)
    assert trainer.step == 1


class TokenTrainer(Trainer):
    """Means over the tokens that are there, of which each sample has its own number."""

    def batch_size(self, batch):
        return int(batch[1].sum())

    def train_step(self, batch):
        data, mask = batch
        loss = (self.model(data).squeeze(2)[mask] - 1).square().mean()
        self.optimize(loss)
        return {"loss": loss}


def test_an_override_counts_tokens_where_steps_accumulate(make_config):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(13, 6, 1, generator=generator, dtype=torch.double)
    mask = torch.arange(6) < torch.arange(13)[:, None] % 6 + 1
    loader = BaseDataLoader(TensorDataset(x, mask), 5, True, 0, 0)
    config = make_config(WHOLE | {"trainer.accumulate_steps": 3})
    net = nn.Linear(1, 1).double()
    before = [p.detach().clone().requires_grad_() for p in net.parameters()]
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    log = TokenTrainer(net, None, [], optimizer, config, "cpu", loader).train()
    loss = (nn.functional.linear(x, *before).squeeze(2)[mask] - 1).square().mean()
    loss.backward()
    assert log["loss"] == pytest.approx(loss.item(), rel=1e-12)
    for one, other in zip(net.parameters(), before, strict=True):
        torch.testing.assert_close(one, other - 0.1 * other.grad, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("batch", "n"),
    [
        ([torch.zeros(3, 2), torch.zeros(3)], 3),
        (torch.zeros(4, 2), 4),
        ({"name": ["a", "b"], "x": torch.zeros(2, 5)}, 2),
        ({"names": ["a", "b", "c"]}, 3),
        ((tuple(torch.zeros(5, 3, 2, 2)), torch.zeros(5)), 5),
        (Pair(torch.zeros(6, 2), torch.zeros(6)), 6),
        ((pack_sequence([torch.zeros(3), torch.zeros(1)]), torch.zeros(2)), 2),
        ((torch.zeros(2, 3), torch.tensor(0.5)), 2),  # a number for the whole batch
    ],
)
def test_the_fields_of_a_batch_say_how_many_samples_it_has(batch, n):
    assert count_samples(batch) == n


@pytest.mark.parametrize(
    "batch",
    [
        (torch.zeros(7, 2), torch.zeros(2)),  # time comes first
        {"x": torch.zeros(2), "more": [torch.zeros(2)] * 3},
        {"text": "a b"},
        (torch.tensor(0.5),),
        "text",
        None,
    ],
)
def test_a_batch_whose_samples_nobody_can_tell_is_refused_in_one_line(batch):
    with pytest.raises(UserError, match="override Trainer.batch_size") as caught:
        count_samples(batch)
    assert "\n" not in str(caught.value)


def test_fields_that_disagree_end_a_run_at_its_first_batch(make_config, capsys):
    loader = DataLoader(images(), 5, collate_fn=channels_first)
    trainer = trainer_of(Trainer, make_config(WHOLE), loader)
    with pytest.raises(RunError, match=r"\(3 or 5\): override Trainer.batch_size"):
        trainer.train()
    assert trainer.step == 0 and len(capsys.readouterr().err.splitlines()) == 1


@pytest.mark.parametrize(
    ("batch", "n"),
    [
        ({"x": torch.ones(4, 1), "name": list("abcd")}, 4),
        ((pack_sequence([torch.ones(3, 1), torch.ones(1, 1)]), torch.ones(2)), 2),
        (["a b", "c", "d"], 3),
    ],
)
def test_any_batch_of_a_list_is_weighed_by_its_samples(make_config, batch, n):
    class Own(Trainer):
        def train_step(self, batch):
            loss = self.model(torch.ones(1, 1)).mean()
            self.optimize(loss)
            return {"loss": loss, "weight": 1.0}

    if isinstance(batch, list):
        Own.batch_size = lambda self, batch: len(batch)
    net = nn.Linear(1, 1)
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    trainer = Own(net, None, [], optimizer, make_config(WHOLE), "cpu", [batch] * 3)
    trainer.train()
    assert trainer.train_metrics.sums()["weight"] == (3 * n, 3 * n)


def test_two_passes_at_once_keep_their_counts():
    loader = BaseDataLoader(range(13), 5, True, 0, 0)
    loader.set_epoch(seed=1, epoch=4)
    lengths = [(len(a), len(b), loader.n_samples_in_batch) for a, b in zip(loader, loader)]  # noqa: B905
    assert lengths == [(n, n, n) for n in LENGTHS]
    first, second = iter(loader), iter(loader)
    next(first), next(first), next(second)
    assert len(next(first)) == loader.n_samples_in_batch == 3
    state = {"seed": 1, "order": "randperm", "of": [13, 0]}
    assert loader.state_dict() == state | {"epoch": 6, "samples": 13}
    assert len(next(second)) == loader.n_samples_in_batch == 5
    assert loader.state_dict() == state | {"epoch": 7, "samples": 10}


class LateStart:
    """The first samples take longer than all others."""

    def __len__(self):
        return 8

    def __getitem__(self, index):
        time.sleep(0.4 * (index < 5))
        return index


def test_a_batch_that_overtakes_another_brings_its_own_count():
    loader = BaseDataLoader(LateStart(), 5, False, 0, 2, in_order=False)
    assert [(len(batch), loader.n_samples_in_batch) for batch in loader] == [(3, 3), (5, 5)]


def test_a_loader_that_makes_its_batches_by_itself_is_counted_by_their_fields(make_config):
    class Own(BaseDataLoader):
        def __iter__(self):
            x, y = self.dataset[:]
            return iter([(x[:8], y[:8]), (x[8:], y[8:])])

    loader = Own(images(), 5, True, 0, 0)
    trainer = trainer_of(Trainer, make_config(WHOLE), loader)
    assert trainer.train()["loss"] == pytest.approx(loss_of_all(images()).item(), rel=1e-12)


class Outputs:
    """Collects what it is given."""

    def reset(self):
        self.n, self.total = 0, 0.0

    def update(self, output, target):
        self.n, self.total = self.n + len(target), self.total + float(output.sum())

    def compute(self):
        return self.total / self.n


def mean_output(output, target):
    return output.mean()


class Contrary(Trainer):
    """Has its model in the mode that is not that of the phase: `model.training` is the user's."""

    def train_step(self, batch):
        self.model.eval()
        return super().train_step(batch)

    def valid_step(self, batch):
        self.model.train()
        return super().valid_step(batch)


@pytest.mark.parametrize("kind", [Trainer, Contrary])
def test_metrics_belong_to_the_phase_whatever_the_mode_of_the_model(make_config, kind):
    loader = BaseDataLoader(images(20), 5, True, 7, 0)
    metrics = [mean_output, Outputs()]
    changes = WHOLE | {"trainer.epochs": 2}
    valid = loader.split_validation()
    trainer = trainer_of(kind, make_config(changes), loader, valid, metrics=metrics)
    log = trainer.train()
    for prefix, part in (("", loader.sampler), ("val_", loader.valid_sampler)):
        expected = model()(images(20)[part.indices][0]).mean().item()
        assert log[prefix + "mean_output"] == pytest.approx(expected, rel=1e-9)
        assert log[prefix + "Outputs"] == pytest.approx(expected, rel=1e-9)


# Samplers of one's own


def weighted(n=30):
    return WeightedRandomSampler(torch.arange(1.0, 21), n)


def seen(loader):
    return [index for batch in loader for index in batch.tolist()]


@pytest.mark.parametrize("with_generator", [False, True])
def test_a_sampler_of_ones_own_gives_the_same_samples_after_a_resume(with_generator):
    def loader():
        sampler = weighted()
        if with_generator:
            sampler.generator = torch.Generator()
            sampler.generator.seed()  # another in each process
        return BaseDataLoader(range(20), 4, True, 0, 0, sampler=sampler)

    straight = loader()
    straight.set_epoch(seed=3, epoch=1)
    first, second = seen(straight), seen(straight)
    assert len(first) == 30 and first != second and len(straight) == 8
    stopped, batches = loader(), []
    stopped.set_epoch(seed=3, epoch=1)
    for batch in stopped:
        batches += batch.tolist()
        if len(batches) == 12:
            break
    resumed = loader()
    torch.rand(5)  # another process has drawn other numbers
    resumed.load_state_dict(stopped.state_dict())
    assert batches + seen(resumed) == first
    assert seen(resumed) == second


@pytest.mark.parametrize("world_size", [2, 3])
def test_of_a_sampler_of_ones_own_each_process_has_its_part(world_size):
    def loader(rank, n):
        loader = BaseDataLoader(range(20), 12 // n, True, 0, 0, sampler=weighted(31))
        loader.batch_sampler.rank, loader.batch_sampler.world_size = rank, n
        loader.set_epoch(seed=3, epoch=1)
        return [batch.tolist() for batch in loader]

    ranks = [loader(rank, world_size) for rank in range(world_size)]
    assert [sum(step, []) for step in zip(*ranks, strict=True)] == loader(0, 1)


def test_a_sampler_is_told_the_epoch_as_in_torch():
    sampler = DistributedSampler(range(20), num_replicas=1, rank=0)
    loader = BaseDataLoader(range(20), 4, True, 0, 0, sampler=sampler)
    loader.set_epoch(seed=3, epoch=5)
    order = seen(loader)
    sampler.set_epoch(5)
    assert order == [*sampler]


def test_a_sampler_does_not_go_with_a_split():
    with pytest.raises(UserError, match="a sampler goes with validation_split = 0"):
        BaseDataLoader(range(20), 4, True, 5, 0, sampler=weighted())


# Batches of one's own


class ByLength(Sampler):
    """Batches of up to `size` samples of one length, in an order drawn anew from each generator."""

    def __init__(self, lengths, size):
        self.lengths, self.size = lengths, size
        self.epochs = []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def __iter__(self):
        groups = {n: [i for i, m in enumerate(self.lengths) if m == n] for n in set(self.lengths)}
        batches = []
        for group in groups.values():
            random.shuffle(group)
            batches += [group[i : i + self.size] for i in range(0, len(group), self.size)]
        return iter([batches[i] for i in torch.randperm(len(batches))])

    def __len__(self):
        return sum(-(-self.lengths.count(n) // self.size) for n in set(self.lengths))


LONG = [1] * 9 + [2] * 10 + [5] * 3


def by_length(rank=0, world_size=1, **options):
    sampler = ByLength(LONG, 4)
    loader = BaseDataLoader(range(22), 4, True, 0, 0, batch_sampler=sampler, **options)
    loader.batch_sampler.rank, loader.batch_sampler.world_size = rank, world_size
    loader.set_epoch(seed=3, epoch=1)
    return loader


def test_batches_of_ones_own_are_given_as_they_are_and_resumed():
    loader = by_length()
    first, second = ([batch.tolist() for batch in loader] for _ in range(2))
    assert sorted(sum(first, [])) == sorted(sum(second, [])) == list(range(22)) and first != second
    assert all(len({LONG[i] for i in batch}) == 1 for batch in first + second)
    assert loader.batch_sampler.sampler.epochs == [1, 2] and len(loader) == len(first) == 7
    stopped, resumed = by_length(), by_length()
    begun = [batch.tolist() for batch in islice(stopped, 3)]
    state = stopped.state_dict()
    assert state["samples"] == sum(map(len, begun)) and state["order"] == "own"
    resumed.load_state_dict(state)
    assert begun + [batch.tolist() for batch in resumed] == first
    assert [batch.tolist() for batch in resumed] == second


@pytest.mark.parametrize("n", [2, 3])
def test_each_process_has_its_part_of_batches_of_ones_own(n):
    def by_rank(rank, n, lengths=(5, 3, 4)):
        batches = [[*range(10 * i, 10 * i + length)] for i, length in enumerate(lengths)]
        loader = BaseDataLoader(range(30), 4, True, 0, 0, batch_sampler=batches)
        loader.batch_sampler.rank, loader.batch_sampler.world_size = rank, n
        return [(batch.tolist(), loader.n_samples_mean) for batch in loader]

    ranks = [by_rank(rank, n) for rank in range(n)]
    for step, (alone, n_alone) in zip(zip(*ranks, strict=True), by_rank(0, 1), strict=True):
        assert sum((batch for batch, _ in step), []) == alone
        assert all(batch and mean == n_alone / n for batch, mean in step)
    with pytest.raises(UserError, match=f"a batch of 1 samples for {n} processes"):
        by_rank(0, n, (4, 1))


def test_samplers_of_ones_own_are_refused_beside_a_split():
    sampler = ByLength(LONG, 4)
    with pytest.raises(UserError, match="a sampler goes with validation_split = 0"):
        BaseDataLoader(range(22), 4, True, 0.1, 0, batch_sampler=sampler)


def test_grouped_samples_stay_together():
    """A sampler that keeps the samples of a group, such as a patient's, next to each other."""

    class Grouped(Sampler):
        def __iter__(self):
            groups = torch.arange(20).view(5, 4)
            return iter(groups[torch.randperm(5)].flatten().tolist())

        def __len__(self):
            return 20

    loader = BaseDataLoader(range(20), 4, True, 0, 2, sampler=Grouped())
    for _ in range(2):
        batches = [batch.tolist() for batch in loader]
        assert all(batch == list(range(batch[0], batch[0] + 4)) for batch in batches)
        assert sorted(sum(batches, [])) == list(range(20))
