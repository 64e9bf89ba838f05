"""The base of all models."""

from abc import ABC, abstractmethod
from typing import Any, TypeVar

from torch import nn

from parse_config import ConfigParser
from utils import UserError, checkpoint
from utils.device import get_device

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
