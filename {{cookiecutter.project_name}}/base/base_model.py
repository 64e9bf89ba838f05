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

    def freeze(self, *names: str) -> None:
        """Stop training the parts with these names, as `named_modules` or `named_parameters` say.

        Only gradients stop: batch norm in a frozen part still follows the data in training mode.
        Freeze before the optimizer is built, so that it gets the other parameters alone. Raises
        UserError where there is no such part.
        """
        self._set_trainable(names, False)

    def unfreeze(self, *names: str) -> None:
        """Train these parts again; the counterpart of `freeze`."""
        self._set_trainable(names, True)

    def _set_trainable(self, names: tuple[str, ...], trainable: bool) -> None:
        for name in names:
            named = self.named_parameters()
            parts = [one for path, one in named if f"{path}.".startswith(f"{name}.")]
            if not parts:
                known = ", ".join(path for path, _ in self.named_children())
                raise UserError(f"no parameters in a part named {name!r}; parts: {known}")
            for parameter in parts:
                parameter.requires_grad_(trainable)

    def __str__(self) -> str:
        parameters = [p for p in self.parameters() if not nn.parameter.is_lazy(p)]
        trainable = sum(p.numel() for p in parameters if p.requires_grad)
        return f"{super().__str__()}\nTrainable parameters: {trainable}"
