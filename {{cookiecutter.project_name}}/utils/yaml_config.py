"""Configs in YAML, version 1.2: as in JSON, `1e-4` is a number, `off` and `no` are strings."""

import re
from collections.abc import Callable
from typing import Any

import yaml

WORDS = (  # the tag of each kind of plain word, what it looks like, and the letters it begins with
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    ("float", r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    ("merge", r"<<", ["<"]),
)


def parse(text: str, to_dict: Callable) -> Any:
    """What a text holds, blocks made by `to_dict`. Raises ValueError with the place of a fault."""
    try:
        return yaml.load(text, _loader(to_dict))
    except yaml.reader.ReaderError as error:
        raise ValueError(f"not valid YAML: {error.reason}") from None
    except yaml.MarkedYAMLError as error:
        place = f"line {error.problem_mark.line + 1} column {error.problem_mark.column + 1}"
        raise ValueError(f"not valid YAML at {place}: {error.problem}") from None


def _loader(to_dict: Callable) -> Any:
    class Loader(yaml.SafeLoader):
        yaml_implicit_resolvers: dict[str, Any] = {}

        def construct_mapping(self, node, deep=True):
            self.flatten_mapping(node)
            make = self.construct_object
            return to_dict((make(key, deep), make(value, deep)) for key, value in node.value)

    for tag, pattern, first in WORDS:
        full = re.compile(rf"^(?:{pattern})$")
        Loader.add_implicit_resolver(f"tag:yaml.org,2002:{tag}", full, first)
    Loader.add_constructor(
        "tag:yaml.org,2002:map", lambda loader, node: loader.construct_mapping(node)
    )
    return Loader
