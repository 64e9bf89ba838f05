"""The digits, the two networks, their losses and the metric that the project begins with."""

import pytest
import torch

from data_loader.data_loaders import MnistDataLoader
from model.loss import discriminator_loss, generator_loss
from model.metric import FrechetDistance
from model.model import Gan
from parse_config import ConfigParser, default_config
from train import build_trainer


@pytest.fixture
def gan_trainer(tmp_path):
    """That of the project's own config, for two short epochs."""

    def make(changes=None, **kwargs):
        short = {"trainer.save_dir": str(tmp_path / "saved"), "trainer.epochs": 2, "device": "cpu"}
        short |= {"trainer.len_epoch": 3, "trainer.tensorboard": False}
        return build_trainer(
            ConfigParser.from_file(default_config(), short | (changes or {}), **kwargs)
        )

    return make


def test_shapes_and_grey_values_are_those_of_the_digits():
    model = Gan(noise_size=5, width=8)
    images = model(torch.randn(3, 5))
    assert images.shape == (3, 1, 28, 28)
    assert model.discriminator(images).shape == (3,)
    digits = torch.cat([batch for batch, _ in MnistDataLoader(augment=False)])
    black, white = digits.min().item(), digits.max().item()
    assert black - 1e-3 <= images.min().item() and images.max().item() <= white + 1e-3


def test_each_loss_is_low_for_who_wins():
    high, low = torch.full((4,), 9.0), torch.full((4,), -9.0)
    assert discriminator_loss(high, low) < 0.01 < 10 < discriminator_loss(low, high)
    assert generator_loss(high) < 0.01 < 8 < generator_loss(low)


def test_each_optimizer_moves_its_own_part_alone(gan_trainer):
    trainer = gan_trainer()
    batch = next(iter(trainer.data_loader))
    for name, other in (("generator", "discriminator"), ("discriminator", "generator")):
        trainer.optimizer[other].step = lambda: None
        before = {k: v.clone() for k, v in trainer.model.named_parameters()}
        trainer.train_step(batch)
        del trainer.optimizer[other].step
        moved = {
            k.split(".")[0] for k, v in trainer.model.named_parameters() if not v.equal(before[k])
        }
        assert moved == {name}


def test_a_run_keeps_a_grid_of_samples_of_each_epoch(gan_trainer):
    from matplotlib.image import imread

    trainer = gan_trainer()
    log = trainer.train()
    assert {"loss_d", "loss_g", "frechet", "val_frechet", "lr_generator"} < set(log)
    grids = sorted(trainer.checkpoint_dir.glob("samples_epoch*.png"))
    assert [grid.name for grid in grids] == ["samples_epoch1.png", "samples_epoch2.png"]
    assert imread(grids[0]).shape[:2] == (8 * 28, 8 * 28)


def test_samples_are_in_tensorboard(gan_trainer):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = gan_trainer({"trainer.tensorboard": True})
    trainer.train()
    events = accumulator.EventAccumulator(str(trainer.checkpoint_dir))
    events.Reload()
    assert [event.step for event in events.Images("samples/valid")] == [3, 6]


def test_evaluations_are_repeatable_and_leave_the_random_stream_alone(gan_trainer):
    trainer = gan_trainer()
    state = torch.get_rng_state()
    first = trainer.evaluate(trainer.valid_data_loader)
    assert trainer.evaluate(trainer.valid_data_loader) == first
    assert torch.equal(torch.get_rng_state(), state)


def distance(made, real, batch=100):
    """As two processes would measure it that take turns."""
    metrics = [FrechetDistance(), FrechetDistance()]
    for number, pair in enumerate(zip(made.split(batch), real.split(batch), strict=True)):
        metrics[number % 2].update(*pair)
    metrics[0].merge(vars(metrics[1]))
    return metrics[0].compute().item()


def test_the_distance_is_that_of_two_normal_distributions():
    """With independent coordinates it is the sum over (difference of means)² + (of deviations)²."""
    torch.manual_seed(0)
    real = torch.randn(4000, 1, 7, 7)
    assert distance(real, real, batch=128) == pytest.approx(0, abs=1e-6)
    assert distance(real + 2, real) == pytest.approx(49 * 4)
    assert distance(real * 3, real) == pytest.approx(49 * 4, rel=0.05)


def test_the_distance_sees_images_that_are_too_alike():
    digits = torch.cat([batch for batch, _ in MnistDataLoader(augment=False, validation_split=0)])
    half, other_half = digits[:2000], digits[2000:]
    few = half[:10].repeat(200, 1, 1, 1)
    assert 0 < distance(half, other_half) < 1 < 5 < distance(few, other_half)


def test_the_distances_that_the_readme_compares_with():
    """Of real images from others, of copies of ten, and of noise: 0.3, 10 and 22."""
    options = {"augment": False, "validation_split": 0}
    loaders = (MnistDataLoader(training=one, **options) for one in (True, False))
    known, held_out = (torch.cat([batch for batch, _ in loader]) for loader in loaders)
    torch.manual_seed(0)
    chosen = known[torch.randperm(len(known))[:1000]]
    assert distance(chosen, held_out) == pytest.approx(0.3, abs=0.1)
    assert distance(chosen[:10].repeat(100, 1, 1, 1), held_out) == pytest.approx(10, abs=1)
    assert distance(torch.randn_like(held_out), held_out) == pytest.approx(22, abs=1)
