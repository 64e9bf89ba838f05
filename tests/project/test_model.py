import pytest
import torch

from base import BaseModel
from digits_example import DigitsModel
from tools.check import FirstSteps
from utils.errors import UserError


def test_a_model_without_forward_cannot_be_made():
    class NoForward(BaseModel):
        pass

    with pytest.raises(TypeError, match="forward"):
        NoForward()


def test_str_shows_trainable_parameters():
    model = DigitsModel()
    in_all = sum(p.numel() for p in model.parameters())
    assert str(model).endswith(f"Trainable parameters: {in_all}")
    model.conv1.requires_grad_(False)
    frozen = model.conv1.weight.numel() + model.conv1.bias.numel()
    assert str(model).endswith(f"Trainable parameters: {in_all - frozen}")


class Lazy(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.LazyLinear(3)

    def forward(self, x):
        return self.layer(x)


def test_a_lazy_layer_is_shown_and_has_to_have_its_size_before_training(make_config):
    model = Lazy()
    assert "LazyLinear" in str(model) and "Trainable parameters: 0" in str(model)
    with pytest.raises(UserError, match=r"^arch: layer\.weight has no size before the first batch"):
        FirstSteps().on_model_built(model, make_config())
    model(torch.zeros(1, 4))
    FirstSteps().on_model_built(model, make_config())
    assert "Trainable parameters: 15" in str(model)
