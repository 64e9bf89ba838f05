"""Arguments of an optimizer for some parameters alone: `groups` in the config.

With no such config, delete this file.
"""

import json
from fnmatch import fnmatchcase

from utils.errors import UserError


def grouped(part, patterns):
    """The parameters that are trained of a model, or of a part of it, as groups for an optimizer.

    `patterns` maps patterns of their names to arguments of the optimizer. Each parameter gets those
    of all patterns that it fits, later ones winning.
    """
    named = {name: p for name, p in part.named_parameters() if p.requires_grad}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in named):
            raise UserError(f"optimizer.groups: no parameter that is trained fits {pattern!r}")
    by_arguments = {"{}": []}  # those without arguments of their own come first
    for name, parameter in named.items():
        fitting = [patterns[pattern] for pattern in patterns if fnmatchcase(name, pattern)]
        arguments = {key: value for one in fitting for key, value in one.items()}
        by_arguments.setdefault(json.dumps(arguments, sort_keys=True), []).append(parameter)
    return [{"params": some, **json.loads(args)} for args, some in by_arguments.items() if some]
