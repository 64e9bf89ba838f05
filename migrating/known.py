"""The known versions of the old base: what of a project's copy its author has changed.

`known_bases.json` has digests of the statements of each method and function, in every version of
the original from 2018 to 2020; scripts/digest_old_bases.py has made it.
"""

import ast
import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

PATH = Path(__file__).with_name("known_bases.json")
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
# Hints and comments on types change nothing, nor do the versions of Python that add such fields
LEFT_OUT = {"annotation", "returns", "ctx", "kind", "type_comment", "type_params", "simple"}
BODIES = ("body", "orelse", "handlers", "finalbody")


@dataclass
class Difference:
    """How a function differs from the version of the original that is nearest to it."""

    added: list[Any]  # statements, in order
    missing: int  # how many statements of the original are not there
    other_signature: bool

    def words(self) -> str:
        found = ["takes other arguments"] * self.other_signature
        found += [f"has other lines ({lines_of(self.added)})"] * bool(self.added)
        found += [f"leaves out {self.missing} of the original's"] * bool(self.missing)
        return ", ".join(found)


def lines_of(nodes: list[Any]) -> str:
    return ", ".join(dict.fromkeys(str(node.lineno) for node in nodes))


def dump(node: Any) -> str:
    """A syntax tree in words that are the same in every version of Python."""
    if isinstance(node, list):
        return "[" + ",".join(map(dump, node)) + "]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [
        f"{name}={dump(value)}"
        for name, value in ast.iter_fields(node)
        if name not in LEFT_OUT and value not in (None, [])
    ]
    return f"{type(node).__name__}({','.join(fields)})"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]


def statements(body: list[Any]) -> Iterator[tuple[str, Any]]:
    """The digest of each statement, of a block its head alone, and the statement; no docstrings."""
    for node in body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            continue
        if isinstance(node, ast.Pass):
            continue
        inner = [one for name in BODIES for one in getattr(node, name, [])]
        if not inner:
            if isinstance(node, ast.AnnAssign) and node.value is not None:
                yield (
                    digest(f"Assign(targets=[{dump(node.target)}],value={dump(node.value)})"),
                    node,
                )
            else:
                yield digest(dump(node)), node
            continue
        head = {k: v for k, v in ast.iter_fields(node) if k not in (*BODIES, *LEFT_OUT)}
        yield digest(type(node).__name__ + "".join(f"{k}={dump(v)}" for k, v in head.items())), node
        for name in BODIES:
            if getattr(node, name, None):
                yield digest(name), node
            yield from statements(getattr(node, name, []))


def signature(function: Any) -> str:
    return digest(dump(function.args) + dump(function.decorator_list))


def fingerprint(function: Any) -> list[str]:
    """The digests of the signature and of each statement."""
    return [signature(function), *(one for one, _ in statements(function.body))]


@cache
def versions() -> dict[str, list[list[str]]]:
    """The fingerprints of each known function, by "Class.method" or "function"."""
    found: dict[str, list[list[str]]] = json.loads(PATH.read_text(encoding="utf-8"))
    return found


def compare(name: str, function: Any) -> Difference | None:
    """How a function differs from all known versions; None where it is one of these.

    `name` is "Class.method" or "function". Raises KeyError for one that the original never had.
    """
    known = versions()[name]
    own = fingerprint(function)
    if own in known:
        return None
    nearest = max(known, key=lambda one: similarity(own, one))
    left = Counter(nearest[1:])
    added: list[Any] = []
    for one, node in statements(function.body):
        if left[one] > 0:
            left[one] -= 1
        else:
            added.append(node)
    return Difference(added, left.total(), own[0] != nearest[0])


def similarity(own: list[str], other: list[str]) -> float:
    common = (Counter(own) & Counter(other)).total()
    return common / max(len(own), len(other))
