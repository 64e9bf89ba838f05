"""The base of all models, and what their outputs mean."""

from abc import ABC, abstractmethod
from functools import partial
from typing import Any, TypeVar

import torch
from torch import nn

from parse_config import ConfigParser
from utils import checkpoint
from utils.device import get_device
from utils.errors import UserError

Model = TypeVar("Model", bound="BaseModel")


class BaseModel(nn.Module, ABC):
    """Base of all models: a `torch.nn.Module` that must have a `forward`."""

    @abstractmethod
    def forward(self, *inputs: Any) -> Any:
        """The output for a batch of inputs."""

    @classmethod
    def from_checkpoint(cls: type[Model], path: Any, device: str = "auto") -> Model:
        """The trained model in a checkpoint, ready to use: `MnistModel.from_checkpoint(path)`.

        It is built as the config in the checkpoint says, on `device` and in evaluation mode. Raises
        UserError where the checkpoint is of another class or has no config.
        """
        state = checkpoint.load(path)
        if not state["config"]:
            raise UserError(f"{path}: has no config in it, which says how to build the model")
        arch = ConfigParser(state["config"], source=path).settings.arch
        if arch.type.rpartition(".")[2] != cls.__name__:
            raise UserError(f"{path}: arch.type is {arch.type!r}, not {cls.__name__!r}")
        model = cls(**arch.args)
        checkpoint.set_weights(model, checkpoint.weights_to_use(state), path)
        return model.to(get_device(device)).eval()

    def __str__(self) -> str:
        parameters = [p for p in self.parameters() if not nn.parameter.is_lazy(p)]
        trainable = sum(p.numel() for p in parameters if p.requires_grad)
        return f"{super().__str__()}\nTrainable parameters: {trainable}"


TASKS = {  # by the losses of PyTorch that make them certain
    "multiclass": "cross_entropy CrossEntropyLoss nll_loss NLLLoss",
    "regression": "mse_loss MSELoss l1_loss L1Loss smooth_l1_loss SmoothL1Loss "
    "huber_loss HuberLoss",
    "binary": "binary_cross_entropy_with_logits BCEWithLogitsLoss binary_cross_entropy BCELoss",
}


def interpret(config: Any, criterion: Any, outputs: torch.Tensor) -> tuple[str, torch.Tensor]:
    """The task, and the outputs for a batch as probabilities where the task has some.

    Raises UserError for outputs that do not fit the task.
    """
    if not isinstance(outputs, torch.Tensor):
        raise UserError(f"the model gives a {type(outputs).__name__}, not a tensor")
    loss = criterion.func if isinstance(criterion, partial) else type(criterion)
    name = loss.__name__ if loss.__module__.startswith("torch.") else ""  # else it may be any loss
    n = outputs.shape[1] if outputs.ndim > 1 else 1  # classes or labels
    found = next((task for task, losses in TASKS.items() if name in losses.split()), "none")
    task = config["task"] or ("multilabel" if found == "binary" and n != 1 else found)
    if (task == "binary" and n != 1) or (task == "multiclass" and n == 1):
        shape = tuple(outputs.shape[1:])
        raise UserError(f"task = {task!r}: does not fit outputs of {shape} for a sample")
    if task == "multiclass":
        return task, outputs.float().softmax(dim=1)
    is_logit = task in ("binary", "multilabel") and name not in ("binary_cross_entropy", "BCELoss")
    return task, outputs.float().sigmoid() if is_logit else outputs
