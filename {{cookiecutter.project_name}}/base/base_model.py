from abc import ABC, abstractmethod

from torch import nn


class BaseModel(nn.Module, ABC):
    """Base of all models: a `torch.nn.Module` that must have a `forward`."""

    @abstractmethod
    def forward(self, *inputs):
        """The output for a batch of inputs."""

    def freeze(self, *names):
        """Stop training the parts with these names, as `named_modules` or `named_parameters` say.

        Only gradients stop: batch norm in a frozen part still follows the data in training mode.
        Freeze before the optimizer is built, so that it gets the other parameters alone.
        """
        self._set_trainable(names, False)

    def unfreeze(self, *names):
        self._set_trainable(names, True)

    def _set_trainable(self, names, trainable):
        for name in names:
            parts = [
                parameter
                for path, parameter in self.named_parameters()
                if path == name or path.startswith(f"{name}.")
            ]
            if not parts:
                known = ", ".join(path for path, _ in self.named_children())
                raise ValueError(f"no parameters in a part named {name!r}; parts: {known}")
            for parameter in parts:
                parameter.requires_grad_(trainable)

    def __str__(self):
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return f"{super().__str__()}\nTrainable parameters: {trainable}"
