import pytest

from base import BaseModel
from digits_example import DigitsModel


def test_a_model_without_forward_cannot_be_made():
    class NoForward(BaseModel):
        pass

    with pytest.raises(TypeError, match="forward"):
        NoForward()


def test_str_shows_trainable_parameters_and_freeze_takes_them_away():
    model = DigitsModel()
    in_all = sum(p.numel() for p in model.parameters())
    assert str(model).endswith(f"Trainable parameters: {in_all}")
    model.freeze("conv1", "conv2.weight")
    frozen = model.conv1.weight.numel() + model.conv1.bias.numel() + model.conv2.weight.numel()
    assert str(model).endswith(f"Trainable parameters: {in_all - frozen}")
    model.unfreeze("conv1", "conv2")
    assert all(p.requires_grad for p in model.parameters())


def test_freezing_a_part_that_is_not_there_names_those_that_are():
    with pytest.raises(ValueError, match="'conv'; parts: conv1, conv2"):
        DigitsModel().freeze("conv")
