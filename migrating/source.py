"""A Python file of the old project: read with ast, never run; edits of it, each with its reason."""

import ast
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Edit:
    start: int  # of the text that is replaced
    end: int
    text: str
    reason: str


@dataclass
class Source:
    name: str  # the path in the project
    text: str
    edits: list[Edit] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # what a person must decide
    before: str = ""  # the old file, where the text is no longer that
    reasons: list[str] = field(default_factory=list)  # of what was edited until then
    dropped: list[Any] = field(default_factory=list)  # statements that are taken out

    def __post_init__(self) -> None:
        self.tree = ast.parse(self.text)
        self.lines = self.text.splitlines(keepends=True)
        self.starts = [0]
        for line in self.lines:
            self.starts.append(self.starts[-1] + len(line))
        self.parents: dict[Any, Any] = {
            child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)
        }

    def as_edited(self) -> "Source":
        """The file with its edits made, to be looked at and edited further."""
        reasons = self.reasons + [one.reason for one in self.applied]
        return Source(self.name, self.edited, [], self.notes, self.before or self.text, reasons)

    def nodes(self, *kinds: type, inside: Any = None) -> list[Any]:
        """All of these kinds, but not in f-strings: Python 3.11 tells their places wrongly."""
        found = [one for one in ast.walk(inside or self.tree) if isinstance(one, kinds)]
        return [one for one in found if self.around(one, ast.JoinedStr) is None]

    def start(self, node: Any) -> int:
        return self._offset(node.lineno, node.col_offset)

    def end(self, node: Any) -> int:
        return self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        """ast counts bytes of UTF-8, we count characters."""
        before = self.lines[line - 1].encode()[:column] if self.lines else b""
        return self.starts[line - 1] + len(before.decode())

    def segment(self, node: Any) -> str:
        return self.text[self.start(node) : self.end(node)]

    def replace(self, node: Any, text: str, reason: str) -> None:
        self.edit(self.start(node), self.end(node), text, reason)

    def edit(self, start: int, end: int, text: str, reason: str) -> None:
        self.edits.append(Edit(start, end, text, reason))

    def remove_lines(self, node: Any, reason: str) -> None:
        self.edit(self.starts[node.lineno - 1], self.starts[node.end_lineno], "", reason)

    def drop(self, node: Any, reason: str) -> None:
        """Take a statement out; `pass` stands for the last of a block."""
        self.dropped.append(node)
        parent = self.parents[node]
        blocks = [
            one for _, one in ast.iter_fields(parent) if isinstance(one, list) and node in one
        ]
        is_last = not isinstance(parent, ast.Module) and all(x in self.dropped for x in blocks[0])
        if is_last or node.lineno != node.end_lineno and not self._has_own_lines(node):
            self.replace(node, "pass", reason)
        else:
            self.remove_lines(node, reason)

    def _has_own_lines(self, node: Any) -> bool:
        before = self.lines[node.lineno - 1].encode()[: node.col_offset]
        return not before.strip()

    def insert_after(self, node: Any, lines: list[str], reason: str) -> None:
        """New lines after a statement, with its indentation."""
        place = self.starts[node.end_lineno]
        before = "" if self.text[:place].endswith("\n") else "\n"
        indent = " " * node.col_offset
        self.edit(place, place, before + "".join(f"{indent}{line}\n" for line in lines), reason)

    def remove_item(self, start: int, end: int, reason: str) -> None:
        """One of several between commas, and one of the commas."""
        before = self.text[:start].rstrip()
        if before.endswith(","):
            return self.edit(len(before) - 1, end, "", reason)
        after = self.text[end:]
        blank = len(after) - len(after.lstrip())
        if after.lstrip().startswith(","):
            rest = after[blank + 1 :]
            end += blank + 1 + len(rest) - len(rest.lstrip(" "))
        return self.edit(start, end, "", reason)

    def note(self, node: Any, text: str) -> None:
        self.notes.append(f"{self.name}:{node.lineno}: {text}")

    def around(self, node: Any, *kinds: type) -> Any:
        """The nearest node of these kinds that `node` stands in, or None."""
        while (node := self.parents.get(node)) is not None:
            if isinstance(node, kinds):
                return node
        return None

    @property
    def applied(self) -> list[Edit]:
        """The edits in order, without those inside of others."""
        kept: list[Edit] = []
        last = -1
        for edit in sorted(self.edits, key=lambda one: (one.start, -one.end)):
            if edit.start >= last:
                kept.append(edit)
                last = edit.end
        return kept

    @property
    def edited(self) -> str:
        text = self.text
        for edit in reversed(self.applied):
            text = text[: edit.start] + edit.text + text[edit.end :]
        return text


def dotted(node: Any) -> str:
    """`a.b.c` of a name or an attribute; "" of anything else."""
    if isinstance(node, ast.Attribute):
        inner = dotted(node.value)
        return f"{inner}.{node.attr}" if inner else ""
    return node.id if isinstance(node, ast.Name) else ""


def defined(tree: ast.Module) -> set[str]:
    """The names that the top level of a file defines or imports."""
    names: set[str] = set()
    for node in tree.body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {one.id for one in node.targets if isinstance(one, ast.Name)}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names |= {one.asname or one.name.split(".")[0] for one in node.names}
    return names


def own_attributes(cls: Any) -> set[str]:
    """The names that the methods of a class set on self."""
    return {
        node.attr
        for node in ast.walk(cls)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Store)
        and dotted(node.value) == "self"
    }


def methods(cls: Any) -> dict[str, Any]:
    return {node.name: node for node in cls.body if isinstance(node, ast.FunctionDef)}


def is_trainer(cls: Any) -> bool:
    return "_train_epoch" in methods(cls) or any(dotted(b).endswith("Trainer") for b in cls.bases)


def base_names(cls: Any) -> set[str]:
    return {dotted(one).rpartition(".")[2] for one in cls.bases}


def built_on(name: str, classes: list[Any]) -> list[Any]:
    """Those of the classes that descend from the one called `name`, on whatever way."""
    found: list[Any] = []
    names = {name, f"New{name}"}  # as from_old.py calls today's
    while more := [one for one in classes if one not in found and base_names(one) & names]:
        found += more
        names |= {one.name for one in more}
    return found


def loaded(node: Any) -> set[str]:
    """The names that a piece of code reads."""
    return {
        one.id
        for one in ast.walk(node)
        if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Load)
    }


def stored(node: Any) -> set[str]:
    """The names that a statement binds, in the statements inside of it too."""
    names: set[str] = set()
    for one in ast.walk(node):
        if isinstance(one, ast.Name) and not isinstance(one.ctx, ast.Load):
            names.add(one.id)
        elif isinstance(one, (ast.FunctionDef, ast.ClassDef, ast.AsyncFunctionDef)):
            names.add(one.name)
        elif isinstance(one, (ast.Import, ast.ImportFrom)):
            names |= {alias.asname or alias.name.split(".")[0] for alias in one.names}
    return names
