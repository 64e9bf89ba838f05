"""What `optimizer.groups` asks for: arguments for some parameters alone."""

from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from base import Callback
from parse_config import ConfigParser
from tools.arguments import check_arguments
from utils.check import look_up
from utils.errors import UserError


class ParameterGroups(Callback):
    """Checks the arguments of each group."""

    def on_check(self, config: ConfigParser, mistakes: list, before_data: bool = False) -> None:
        for path, optimizer in config.parts("optimizer").items():
            with suppress(UserError):  # a wrong type is a mistake already
                found = look_up(optimizer.type, [torch.optim])
                for pattern, args in optimizer.groups.items():
                    where = (*path, "groups", pattern)
                    of_all = check_arguments(found, optimizer.args | args, where, given=1)
                    mistakes += [mistake for mistake in of_all if mistake.path[-1] in args]


def parameter_groups(part: nn.Module, patterns: dict[str, dict[str, Any]]) -> list[Any]:
    """The parameters that are trained of a model, or of a part of it, as an optimizer has them.

    Each gets the arguments of all patterns that it fits, later ones winning. Raises UserError
    for a pattern that fits nothing.
    """
    named = {name: p for name, p in part.named_parameters() if p.requires_grad}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise UserError(f"optimizer.groups: no parameter that is trained fits {pattern!r}")
    groups: dict[str, dict[str, Any]] = {"": {"params": []}}
    for name, parameter in named.items():
        fitting = [pattern for pattern in patterns if fnmatchcase(name, pattern)]
        group = groups.setdefault(" ".join(fitting), {"params": [], "name": " ".join(fitting)})
        group["params"].append(parameter)
        for pattern in fitting:
            group |= patterns[pattern]
    return [group for group in groups.values() if group["params"]]
