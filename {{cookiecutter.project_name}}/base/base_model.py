"""The base of all models."""

from abc import ABC, abstractmethod
from typing import Any

from torch import nn


class BaseModel(nn.Module, ABC):
    """Base of all models: a `torch.nn.Module` that must have a `forward`."""

    @abstractmethod
    def forward(self, *inputs: Any) -> Any:
        """The output for a batch of inputs."""

    def __str__(self) -> str:
        parameters = [p for p in self.parameters() if not nn.parameter.is_lazy(p)]
        trainable = sum(p.numel() for p in parameters if p.requires_grad)
        return f"{super().__str__()}\nTrainable parameters: {trainable}"
