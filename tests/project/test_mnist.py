"""The digits, the network and the metrics that the project begins with."""

import pytest
import torch

from data_loader.data_loaders import MnistDataLoader, random_shift
from model.metric import accuracy, top_k_acc
from model.model import MnistModel


def test_forward_gives_logits_per_class():
    assert MnistModel(num_classes=7)(torch.zeros(3, 1, 28, 28)).shape == (3, 7)


SCORES = torch.tensor([[9.0, 1, 0, 0], [5, 6, 7, 8], [1, 3, 2, 0], [0, 0, 1, 2]])


def test_metrics_by_hand():
    target = torch.tensor([0, 0, 2, 3])  # first, last, second and first place
    assert accuracy(SCORES, target) == 2 / 4
    assert top_k_acc(SCORES, target, k=2) == 3 / 4
    assert top_k_acc(SCORES, target, k=4) == 1


@pytest.mark.parametrize("metric", [accuracy, top_k_acc])
@pytest.mark.parametrize("shape", [(4, 1), (4, 4), (1,)])
def test_targets_that_are_no_class_numbers_are_refused(metric, shape):
    with pytest.raises(ValueError, match="are no class numbers"):
        metric(SCORES, torch.zeros(shape))


def test_augmented_digits_are_the_same_with_any_number_of_workers():
    def first_pass(num_workers):
        loader = MnistDataLoader(num_workers=num_workers, batch_size=500)
        loader.set_epoch(seed=0, epoch=0)
        return torch.cat([images for images, _ in loader])

    assert torch.equal(first_pass(0), first_pass(2))


def test_train_validation_and_test_digits_never_overlap():
    loader = MnistDataLoader(validation_split=400, augment=False)
    test = MnistDataLoader(training=False, validation_split=0)
    parts = [loader, loader.split_validation(), test]
    images = [{bytes(image.numpy()) for x, _ in part for image in x} for part in parts]
    assert [len(part) for part in images] == [3600, 400, 1000]
    assert not (images[0] & images[1] | images[0] & images[2] | images[1] & images[2])


def test_only_training_images_are_augmented():
    plain = MnistDataLoader(shuffle=False, augment=False)
    loader = MnistDataLoader(shuffle=False)
    valid, test = loader.split_validation(), MnistDataLoader(shuffle=False, training=False)
    assert not torch.equal(next(iter(loader))[0], next(iter(plain))[0])
    assert torch.equal(next(iter(valid))[0], next(iter(plain.split_validation()))[0])
    test_again = MnistDataLoader(shuffle=False, training=False, augment=False)
    assert torch.equal(next(iter(test))[0], next(iter(test_again))[0])


def test_random_shift_moves_each_image_as_a_whole():
    images = torch.zeros(64, 1, 9, 9)
    images[:, 0, 4, 4] = 1
    places = random_shift(images, torch.Generator(), pixels=2).flatten(1)
    assert (places.sum(dim=1) == 1).all()
    rows, columns = places.argmax(dim=1) // 9, places.argmax(dim=1) % 9
    assert {*rows.tolist()} == {*columns.tolist()} == {2, 3, 4, 5, 6}


def test_new_digits_are_prepared_as_those_of_training():
    from PIL import Image

    loader = MnistDataLoader(augment=False)
    raw, (wanted, _) = loader.dataset.images[7].numpy(), loader.dataset[7]
    assert torch.equal(MnistDataLoader.prepare(raw), wanted)
    assert torch.equal(MnistDataLoader.prepare(Image.fromarray(raw)), wanted)
    larger = Image.fromarray(raw).convert("RGB").resize((280, 280))
    assert (MnistDataLoader.prepare(larger) - wanted).abs().mean() < 0.2
    with pytest.raises(ValueError, match=r"float64 \(28, 28\): a digit is uint8 \(28, 28\)"):
        MnistDataLoader.prepare(raw / 255)
