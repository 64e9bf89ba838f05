import pytest
import torch

from base import BaseModel
from model.loss import focal_loss
from model.metric import accuracy, top_k_acc
from model.model import MnistModel


def test_forward_gives_logits_per_class():
    assert MnistModel(num_classes=7)(torch.zeros(3, 1, 28, 28)).shape == (3, 7)


def test_a_model_without_forward_cannot_be_made():
    class NoForward(BaseModel):
        pass

    with pytest.raises(TypeError, match="forward"):
        NoForward()


def test_str_shows_trainable_parameters_and_freeze_takes_them_away():
    model = MnistModel()
    in_all = sum(p.numel() for p in model.parameters())
    assert str(model).endswith(f"Trainable parameters: {in_all}")
    model.freeze("conv1", "conv2.weight")
    frozen = model.conv1.weight.numel() + model.conv1.bias.numel() + model.conv2.weight.numel()
    assert str(model).endswith(f"Trainable parameters: {in_all - frozen}")
    model.unfreeze("conv1", "conv2")
    assert all(p.requires_grad for p in model.parameters())


def test_freezing_a_part_that_is_not_there_names_those_that_are():
    with pytest.raises(ValueError, match="'conv'; parts: conv1, conv2"):
        MnistModel().freeze("conv")


SCORES = torch.tensor([[9.0, 1, 0, 0], [5, 6, 7, 8], [1, 3, 2, 0], [0, 0, 1, 2]])


def test_metrics_by_hand():
    target = torch.tensor([0, 0, 2, 3])  # first, last, second and first place
    assert accuracy(SCORES, target) == 2 / 4
    assert top_k_acc(SCORES, target, k=2) == 3 / 4
    assert top_k_acc(SCORES, target, k=4) == 1


def test_focal_loss_is_cross_entropy_where_gamma_is_zero():
    target = torch.tensor([0, 1, 2, 3])
    expected = torch.nn.functional.cross_entropy(SCORES, target)
    assert torch.allclose(focal_loss(SCORES, target, gamma=0), expected)
    assert focal_loss(SCORES, target) < expected
