"""Configs in YAML 1.2: as in JSON, `1e-4` is a number, and `off` and `no` are strings."""

import re
from collections.abc import Callable
from typing import Any

SCALARS = {  # what plain words are, all others being strings, and what they look like
    "null": r"null|Null|~|",
    "bool": r"true|True|false|False",
    "int": r"[-+]?(0|[1-9]\d*)",
    "float": r"[-+]?(\.\d+|\d+(\.\d*)?)([eE][-+]?\d+)?",
}


def parse(text: str, to_dict: Callable) -> Any:
    """What a text holds, blocks made by `to_dict`. Raises ValueError with the place of a fault."""
    try:
        import yaml
    except ImportError:
        raise ValueError("YAML takes PyYAML: pip install pyyaml") from None

    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}

        def construct_mapping(self, node: Any, deep: bool = True) -> Any:
            make = self.construct_object
            pairs = [(make(key, deep), make(value, deep)) for key, value in node.value]
            if others := [key for key, _ in pairs if not isinstance(key, str)]:
                raise ValueError(f"key {others[0]!r} must be a string")
            return to_dict(pairs)

    for tag, pattern in SCALARS.items():
        full = re.compile(rf"^(?:{pattern})$")
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", full, None)
    Loader.add_constructor("tag:yaml.org,2002:map", Loader.construct_mapping)
    try:
        return yaml.load(text, Loader)
    except yaml.reader.ReaderError as error:
        raise ValueError(f"not valid YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1} column {error.problem_mark.column + 1}"
        raise ValueError(f"not valid YAML at {place}: {error.problem}") from None
