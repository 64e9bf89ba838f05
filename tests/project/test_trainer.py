import csv
import gc
import sys
import weakref

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from base import BaseDataLoader, BaseTrainer
from train import build_trainer
from trainer.trainer import Trainer
from utils import UserError


class Scripted(BaseTrainer):
    """Gives the values it is told to, one for each epoch."""

    def __init__(self, values, config):
        model = nn.Linear(1, 1)
        super().__init__(model, None, [], torch.optim.SGD(model.parameters(), 0.1), config)
        self.values = values

    def _train_epoch(self, epoch):
        return {"loss": 0.0, "val_loss": self.values[epoch - 1]}


def saved_files(trainer):
    return {path.name for path in trainer.checkpoint_dir.glob("*.pth")}


def rows_of(trainer):
    with open(trainer.checkpoint_dir / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_loss_falls(make_trainer):
    trainer = make_trainer({"trainer.epochs": 3, "trainer.len_epoch": 20})
    trainer.train()
    losses = [float(row["loss"]) for row in rows_of(trainer)]
    assert losses[2] < losses[1] < losses[0] and losses[2] < losses[0] / 2


def test_a_trainer_must_say_what_an_epoch_is(make_config):
    with pytest.raises(TypeError, match="_train_epoch"):
        BaseTrainer(nn.Linear(1, 1), None, [], None, make_config())


@pytest.mark.parametrize(
    ("mode", "values", "last_epoch", "best"),
    [
        ("min", [3, 2, 2, 2.5, 2, 1, 0], 5, 2),  # an equal value is no improvement
        ("min", [3, 4, 4, 2.9, 4, 4, 3, 0], 7, 2.9),  # an improvement starts the count again
        ("max", [1, 2, 3, 3, 2, float("nan"), 9], 6, 3),  # not-a-number is never the best
    ],
)
def test_early_stop_after_exactly_so_many_epochs(make_config, mode, values, last_epoch, best):
    changes = {"trainer.monitor": f"{mode} val_loss", "trainer.early_stop": 3}
    trainer = Scripted(values, make_config(changes | {"trainer.epochs": len(values)}))
    assert trainer.train()["epoch"] == last_epoch == len(rows_of(trainer))
    assert trainer.mnt_best == best


def test_the_best_is_saved_off_the_period_and_the_last_epoch_too(make_config):
    changes = {"trainer.epochs": 5, "trainer.save_period": 3, "trainer.keep_last": None}
    trainer = Scripted([5, 1, 2, 3, 4], make_config(changes))
    trainer.train()
    expected = {"checkpoint-epoch3.pth", "checkpoint-epoch5.pth", "last.pth", "model_best.pth"}
    assert saved_files(trainer) == expected
    best = torch.load(trainer.checkpoint_dir / "model_best.pth", weights_only=True)
    assert best["epoch"] == 2 and best["monitor_best"] == 1


def test_only_the_newest_checkpoints_are_kept(make_config):
    trainer = Scripted([1] * 11, make_config({"trainer.epochs": 11, "trainer.keep_last": 2}))
    trainer.train()
    expected = {"checkpoint-epoch10.pth", "checkpoint-epoch11.pth", "last.pth", "model_best.pth"}
    assert saved_files(trainer) == expected


def test_a_monitor_that_no_epoch_gives_is_named(make_config):
    trainer = Scripted([1], make_config({"trainer.monitor": "max val_acc"}))
    with pytest.raises(UserError, match="'max val_acc'.* an epoch gives epoch, loss, val_loss"):
        trainer.train()


@pytest.mark.parametrize(
    ("monitor", "split", "expected"),
    [
        ("max val_acuracy", 0.1, "gives no 'val_acuracy'; did you mean 'val_accuracy'?"),
        ("max acuracy", 0.1, "an epoch gives no 'acuracy'; did you mean 'accuracy'?"),
        ("min val_loss", 0, "there is no validation data"),
    ],
)
def test_a_wrong_monitor_is_found_before_training(make_trainer, monitor, split, expected):
    changes = {"trainer.monitor": monitor, "data_loader.args.validation_split": split}
    trainer = make_trainer(changes)
    with pytest.raises(UserError, match=expected.replace("?", r"\?")):
        trainer.train()
    assert not trainer.checkpoint_dir.parent.parent.exists()


def test_the_same_config_gives_the_same_weights_with_any_number_of_workers(make_trainer):
    def weights(**changes):
        trainer = make_trainer(changes)
        trainer.train()
        return torch.cat([p.flatten() for p in trainer.model.parameters()])

    expected = weights()
    assert torch.equal(weights(**{"data_loader.args.num_workers": 2}), expected)
    assert torch.equal(weights(deterministic=True), expected)
    torch.use_deterministic_algorithms(False)
    assert not torch.equal(weights(seed=1), expected)


def test_validation_agrees_with_means_by_hand_over_uneven_batches(make_config):
    config = make_config({"data_loader.args.batch_size": 64})  # 150 = 2 * 64 + 22
    trainer = build_trainer(config)
    log = trainer.evaluate(trainer.valid_data_loader)
    indices = trainer.data_loader.valid_sampler.indices
    images, labels = trainer.valid_data_loader.dataset[indices]
    with torch.no_grad():
        output = trainer.model.eval()(images)
    assert log["loss"] == pytest.approx(nn.functional.cross_entropy(output, labels).item())
    assert log["accuracy"] == pytest.approx((output.argmax(1) == labels).float().mean().item())


class Identity(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seen = []

    def forward(self, x):
        self.seen += x.flatten().tolist()
        return x * self.weight


def data(n, **kwargs):
    x = torch.arange(float(n))[:, None]
    return DataLoader(TensorDataset(x, x), batch_size=2, **kwargs)


def simple_trainer(config, model, loader, optimizer=None, **kwargs):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 1e-3)
    loss = nn.functional.mse_loss
    return Trainer(model, loss, [], optimizer, config, "cpu", loader, **kwargs)


def test_len_epoch_is_exact_and_goes_on_where_it_was(make_config):
    model = Identity()
    config = make_config({"trainer.monitor": "off", "trainer.len_epoch": 2})
    simple_trainer(config, model, data(6)).train()
    assert model.seen == [0, 1, 2, 3, 4, 5, 0, 1]


def test_a_stream_without_length_can_be_trained_on(make_config):
    class Stream(IterableDataset):
        def __iter__(self):
            return ((torch.tensor([float(i)]), torch.ones(1)) for i in range(10**9))

    model = Identity()
    config = make_config({"trainer.monitor": "off", "trainer.len_epoch": 2})
    simple_trainer(config, model, DataLoader(Stream(), batch_size=2)).train()
    assert model.seen == [0, 1, 2, 3, 4, 5, 6, 7]


def test_schedulers_per_epoch_per_step_and_on_plateau(make_config):
    def lr_after(scheduler, **changes):
        config = make_config(
            {"trainer.monitor": "min loss", "trainer.len_epoch": 3, "lr_scheduler": scheduler}
            | changes
        )
        model = Identity()
        optimizer = torch.optim.SGD(model.parameters(), 1.0)
        scheduler = config.init_obj("lr_scheduler", torch.optim.lr_scheduler, optimizer)
        zero = [(torch.zeros(2, 1), torch.zeros(2, 1))] * 3  # the loss is always the same
        trainer = simple_trainer(config, model, zero, optimizer, lr_scheduler=scheduler)
        trainer.train()
        return optimizer.param_groups[0]["lr"], [float(row["lr"]) for row in rows_of(trainer)]

    step = {"type": "StepLR", "args": {"step_size": 1, "gamma": 0.5}}
    assert lr_after(step) == (0.25, [1.0, 0.5])
    assert lr_after(step | {"interval": "step"}) == (0.5**6, [0.5**3, 0.5**6])
    plateau = {"type": "ReduceLROnPlateau", "args": {"patience": 0, "factor": 0.1}}
    assert lr_after(plateau, **{"trainer.epochs": 3}) == (pytest.approx(0.01), [1.0, 1.0, 0.1])


class Count:
    """A metric that collects: the number of samples."""

    def reset(self):
        self.n = 0

    def update(self, output, target):
        self.n += len(target)

    def compute(self):
        return torch.tensor(self.n)


def test_metrics_that_collect_over_the_epoch(make_trainer):
    plain = make_trainer({"trainer.epochs": 1})
    trainer = Trainer(
        plain.model,
        plain.criterion,
        [Count(), *plain.metric_ftns],
        plain.optimizer,
        plain.config,
        data_loader=plain.data_loader,
        valid_data_loader=plain.valid_data_loader,
    )
    log = trainer.train()
    assert (log["Count"], log["val_Count"]) == (4 * trainer.data_loader.batch_size, 150)
    assert log["val_accuracy"] > 0


class Gan(nn.Module):
    def __init__(self):
        super().__init__()
        self.generator, self.discriminator = nn.Linear(2, 64), nn.Linear(64, 1)

    def forward(self, x):
        return self.generator(x)


class GanTrainer(Trainer):
    """Two losses, two optimizers: a step that a user writes."""

    def train_step(self, batch):
        images, ones = batch[0].flatten(1), torch.ones(len(batch[0]), 1)
        fake = self.model(torch.randn(len(images), 2))
        judge, loss = self.model.discriminator, self.criterion["adversarial"]
        loss_d = loss(judge(images), ones) + loss(judge(fake.detach()), 1 - ones)
        self.optimize(loss_d, self.optimizer["discriminator"])
        loss_g = loss(judge(fake), ones)
        self.optimize(loss_g, self.optimizer["generator"])
        return {"loss": loss_g + loss_d, "loss_d": loss_d, "loss_g": (loss_g, 1)}


def test_several_optimizers_losses_and_schedulers(make_config, tmp_path):
    adam = {"type": "Adam", "args": {"lr": 0.001}}
    changes = {
        "optimizer": {"generator": adam, "discriminator": adam},
        "lr_scheduler": {"generator": {"type": "ExponentialLR", "args": {"gamma": 0.5}}},
        "loss": {"adversarial": {"type": "BCEWithLogitsLoss"}},
        "trainer.monitor": "off",
    }

    def gan(**kwargs):
        config = make_config(changes, **kwargs)
        modules = [torch.optim], [torch.optim.lr_scheduler], [nn]
        model = Gan()
        optimizer = config.init_each(
            "optimizer",
            lambda path: config.init_obj(
                path, modules[0], model.get_submodule(path[1]).parameters()
            ),
        )
        scheduler = config.init_each(
            "lr_scheduler", lambda path: config.init_obj(path, modules[1], optimizer[path[1]])
        )
        criterion = config.init_each("loss", lambda path: config.init_callable(path, modules[2]))
        loader = build_trainer(make_config()).data_loader
        return GanTrainer(
            model, criterion, [], optimizer, config, "cpu", loader, lr_scheduler=scheduler
        )

    trainer = gan()
    log = trainer.train()
    assert {"loss", "loss_d", "loss_g", "lr_generator", "lr_discriminator"} < set(log)
    assert trainer.optimizer["generator"].param_groups[0]["lr"] == pytest.approx(0.00025)
    assert trainer.optimizer["discriminator"].param_groups[0]["lr"] == 0.001

    resumed = gan(resume=trainer.checkpoint_dir / "checkpoint-epoch1.pth")
    resumed.train()
    for key, value in trainer.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key])


def test_a_collecting_metric_goes_on_in_the_middle_of_an_epoch(make_config):
    def trainer(**kwargs):
        config = make_config({"trainer.monitor": "off", "trainer.len_epoch": 4}, **kwargs)
        model = Identity()
        optimizer = torch.optim.SGD(model.parameters(), 1e-3)
        loss = nn.functional.mse_loss
        return Trainer(model, loss, [Count()], optimizer, config, "cpu", data(8))

    first = trainer()
    first.asks_each_step = True
    first._save_or_stop_if_due = lambda: (
        first._save(0, ["last.pth"]),
        first.saver.wait(),
        1 / (first.step - 3),
    )
    with pytest.raises(ZeroDivisionError):
        first.train()
    assert trainer(resume=first.checkpoint_dir / "last.pth").train()["Count"] == 8


def test_a_validation_written_by_the_user_can_be_monitored(make_trainer, monkeypatch):
    class Own(Trainer):
        def _valid_epoch(self, epoch):
            return {"auc": 0.5 + epoch / 10}

    monkeypatch.setattr("trainer.Trainer", Own)
    trainer = make_trainer({"trainer.monitor": "max val_auc"})
    trainer.train()
    assert trainer.mnt_best == 0.7


class Nothing(list):
    """A loader with `set_epoch` whose passes are empty."""

    batch_sampler = None

    def set_epoch(self, *args, **kwargs):
        pass


def test_a_loader_that_gives_no_batch_or_has_no_length_is_named(make_config):
    config = make_config({"trainer.monitor": "off"})
    with pytest.raises(UserError, match="the data loader gives no batch"):
        simple_trainer(config, Identity(), (batch for batch in data(4))).train()
    empty = build_trainer(make_config())
    empty.data_loader = Nothing()
    with pytest.raises(UserError, match="the data loader gives no batch"):
        empty.train()
    endless = make_config({"trainer.monitor": "off", "trainer.len_epoch": None})
    with pytest.raises(UserError, match="trainer.len_epoch: a data loader without length needs it"):
        simple_trainer(endless, Identity(), (batch for batch in data(4)))


def test_a_metric_that_gives_no_number_is_named(make_trainer):
    trainer = make_trainer()
    trainer.train_metrics.functions["<lambda>"] = lambda output, target: None
    with pytest.raises(UserError, match="'<lambda>' is no number"):
        trainer.train()


def test_an_epoch_written_by_the_user_in_the_old_way(make_config):
    class Old(Trainer):
        def _train_epoch(self, epoch):
            self.model.train()
            self.train_metrics.reset()
            for batch_idx, (x, target) in enumerate(self.data_loader):
                self.optimizer.zero_grad()
                loss = self.criterion(self.model(x.to(self.device)), target)
                loss.backward()
                self.optimizer.step()
                self.writer.set_step((epoch - 1) * self.len_epoch + batch_idx)
                self.train_metrics.update("loss", loss.item())
            log = self.train_metrics.result()
            if self.do_validation:
                log.update(**{"val_" + k: v for k, v in self._valid_epoch(epoch).items()})
            return log

    model = Identity()
    optimizer = torch.optim.SGD(model.parameters(), 1e-3)
    loss = nn.functional.mse_loss
    trainer = Old(model, loss, [], optimizer, make_config(), "cpu", data(8), data(4))
    log = trainer.train()
    assert log["epoch"] == 2 and set(log) == {"epoch", "loss", "val_loss"}


def test_event_files_hold_what_metrics_csv_says(make_trainer):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = make_trainer({"trainer.tensorboard": True, "trainer.log_step": 2})
    trainer.train()
    events = accumulator.EventAccumulator(str(trainer.checkpoint_dir))
    events.Reload()
    columns = {"loss/train_epoch": "loss", "loss/valid": "val_loss", "lr/train_epoch": "lr"}
    for tag, column in columns.items():
        written = [(event.step, event.value) for event in events.Scalars(tag)]
        expected = [float(row[column]) for row in rows_of(trainer)]
        assert written == [(4, pytest.approx(expected[0])), (8, pytest.approx(expected[1]))]
    assert [event.step for event in events.Scalars("accuracy/train")] == [2, 4, 6, 8]


def test_a_missing_tensorboard_is_one_warning(make_trainer, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    trainer = make_trainer({"trainer.tensorboard": True})
    trainer.train()
    warning = "tensorboard is not installed (pip install it): no event files"
    assert capsys.readouterr().out.count(warning) == 1
    assert not [*trainer.checkpoint_dir.glob("events*")]


class Noting(Trainer):
    """Notes the samples that it sees."""

    def train_step(self, batch):
        self.seen += batch[0].flatten().tolist()
        return super().train_step(batch)


def test_with_len_epoch_batches_of_another_size_go_on_in_the_same_pass(make_config):
    """Also where as many of these make a pass as an epoch has."""
    samples, seen = torch.arange(40.0)[:, None], []

    def run(batch_size, epochs, **kwargs):
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), 1e-6)
        loader = BaseDataLoader(TensorDataset(samples, samples), batch_size, True, 0, 0)
        changes = {"trainer.monitor": "off", "trainer.len_epoch": 5, "trainer.epochs": epochs}
        config = make_config(changes, **kwargs)
        trainer = Noting(model, nn.functional.mse_loss, [], optimizer, config, "cpu", loader)
        trainer.seen = seen
        trainer.train()
        return trainer

    first = run(4, 1)
    assert len(seen) == 20
    assert run(8, 2, resume=first.checkpoint_dir / "last.pth").step == 10
    assert sorted(seen[:40]) == samples.flatten().tolist()


def test_an_epoch_shorter_than_what_is_done_of_it_is_over(make_config, make_trainer):
    trainer = make_trainer({"trainer.len_epoch": 4})
    trainer.batch_idx = 5
    assert [*trainer._epoch_batches()] == []


def test_a_trainer_that_is_done_is_gone_at_once(make_trainer):
    """With the workers of its loader: those that wait for the garbage collector end slowly."""
    trainer = make_trainer({"data_loader.args.num_workers": 1})
    trainer.callbacks = []  # the thread of one may hold for a moment what it has just done
    trainer.train()
    reference = weakref.ref(trainer)
    gc.disable()
    try:
        del trainer
        assert reference() is None
    finally:
        gc.enable()


def test_a_second_call_of_train_goes_on(make_trainer):
    """As in a notebook, where a cell is run again."""
    trainer = make_trainer({"trainer.tensorboard": True})
    trainer.train()
    weights = trainer.model.fc1.weight.clone()
    assert trainer.train() == {} and torch.equal(trainer.model.fc1.weight, weights)
    trainer.epochs = 3
    assert trainer.train()["epoch"] == 3
    straight = make_trainer({"trainer.epochs": 3})
    straight.train()
    assert torch.equal(trainer.model.fc1.weight, straight.model.fc1.weight)


def test_going_back_within_a_run_drops_the_rows_after_it(make_trainer):
    trainer = make_trainer({"trainer.epochs": 3})
    trainer.train()
    first = trainer.checkpoint_dir / "checkpoint-epoch1.pth"
    make_trainer({"trainer.epochs": 2}, resume=first).train()
    assert len((trainer.checkpoint_dir / "metrics.csv").read_text().splitlines()) == 3


def test_what_is_easily_overlooked_is_told(make_trainer, caplog):
    class WithWeights(nn.CrossEntropyLoss):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))

    trainer = make_trainer({"parallel.type": "fsdp", "trainer.epochs": 1})
    trainer.criterion = WithWeights()
    trainer.train()
    told = " ".join(caplog.messages)
    assert "not trained, as no optimizer has them: scale" in told and "parallel.type = fsdp" in told


def test_a_step_that_returns_no_values_is_named(make_trainer):
    trainer = make_trainer()
    trainer.train_step = lambda batch: None
    with pytest.raises(UserError, match="a dict of values by name, not a NoneType"):
        trainer.train()
