"""What migrate.py says, on the console and in MIGRATED.md."""

import ast
import json
import re
import sys
from collections.abc import Iterable
from difflib import unified_diff
from pathlib import Path
from typing import Any

from migrating.python import run
from migrating.tree import BASE, OldProject

FIND = """
import json, sys
from importlib.util import find_spec
json.dump([one for one in json.load(sys.stdin) if find_spec(one) is None], sys.stdout)
"""


class Report:
    def __init__(self, old: OldProject) -> None:
        self.old = old
        self.changes: dict[str, tuple[list[str], str]] = {}  # {file: (reasons, diff)}
        self.skipped: list[str] = []
        self.renamed: dict[str, str] = {}
        self.kept: list[str] = []  # what was changed in the base, and is carried over
        self.entries: dict[str, str] = {}  # scripts, and why each was left as it is
        self.trains: list[str] = []  # the scripts that train
        self.checks: list[list[str]] = []  # commands
        self.tests: list[str] = []  # commands that test a checkpoint, the last in any case
        self.notes: list[str] = []
        self.configs: list[str] = []
        self.keys_read: set[str] = set()  # of the configs, or of anything else
        self.checkpoints: list[dict[str, Any]] = []

    @staticmethod
    def not_found(modules: list[str], folder: Path) -> list[str]:
        """Those of the modules that a script in a folder could not import."""
        done = run("-c", FIND, cwd=folder, input=json.dumps(modules))  # where the checks run
        found: list[str] = json.loads(done.stdout)
        return found

    def changed(self, name: str, before: str, after: str, reasons: Iterable[str]) -> None:
        lines, new_lines = (text.splitlines(keepends=True) for text in (before, after))
        diff = "".join(unified_diff(lines, new_lines, f"old/{name}", f"new/{name}", n=1))
        self.changes[name] = (list(reasons), diff)

    def look_at(self, new: Path, draws_anew: bool = True) -> None:
        """Notes on what only a person can judge."""
        if names := self.old.large_files:
            self.notes.append(
                f"large files stay where they are, copy or link them: {', '.join(names)}"
            )
        loaders = [one.get("data_loader") or {} for one in self.old.configs.values()]
        splits = draws_anew and any("validation_split" in str(one) for one in loaders)
        if self.old.checkpoints and splits:
            self.notes.append(
                "validation_split draws other samples than the old base did: on some of them, the "
                "old checkpoints were trained; docs/migrating.md says how to keep the old part"
            )
        if (self.old.root / "requirements.txt").exists():
            listed = self._packages(self.old.root / "requirements.txt")
            have = self._packages(new / "requirements.txt") | {"tensorboardX", "tensorboardx"}
            if more := sorted(listed - have):
                self.notes.append(f"requirements.txt: add what is still used of {', '.join(more)}")
        sets_length = any("len_epoch" in str(one) for one in self.old.configs.values())
        for tree in self.old.trees.values():
            for node in ast.walk(tree):
                if isinstance(node, ast.keyword) and node.arg == "len_epoch":
                    sets_length = sets_length or ast.unparse(node.value) != "None"
        for name, tree in self.old.trees.items():
            if name in self.old.user_files:
                self._look_at_code(name, tree, sets_length)
        self._look_at_imports(new)
        if not self.configs:
            self.notes.append("no config was found: a JSON or YAML file with a block `trainer`")
        if "before configs" in self.old.era:
            trainer = self.old.classes["BaseTrainer"]
            line = "took no config: write one with what train.py had from its command line, and"
            line += " give the trainer ConfigParser's"
            self.notes.append(f"{trainer.file}:{trainer.node.lineno}: BaseTrainer {line}")

    def _look_at_imports(self, new: Path) -> None:
        """What is imported and is neither in the project nor installed, each by its first place."""
        own = {name.partition("/")[0].removesuffix(".py") for name in self.old.trees}
        trees = {name: self.old.trees[name] for name in self.old.trees if name not in BASE}
        for name in [*self.changes]:  # what was carried over of the base
            if name.endswith(("from_old.py", "old_parse_config.py")):
                try:
                    trees[name] = ast.parse((new / name).read_text(encoding="utf-8"))
                except SyntaxError as error:  # of an edit
                    self.notes.append(f"{name}:{error.lineno}: no Python any more: {error.msg}")
        places: dict[str, str] = {}
        for name, tree in trees.items():
            for node in ast.walk(tree):
                imported: list[str] = []
                if isinstance(node, ast.Import):
                    imported = [one.name for one in node.names]
                elif isinstance(node, ast.ImportFrom) and not node.level:
                    imported = [str(node.module)]
                for module in imported:
                    place = f"{name}:{getattr(node, 'lineno', 1)}"
                    places.setdefault(module.partition(".")[0], place)
        for top in self.not_found([*places.keys() - own - sys.stdlib_module_names], new):
            line = f"imports {top}, which is neither in the project nor installed"
            self.notes.append(f"{places[top]}: {line}")

    def _look_at_code(self, name: str, tree: ast.Module, sets_length: bool) -> None:
        for node in ast.walk(tree):
            if isinstance(node, ast.Compare) and "batch_idx == self.len_epoch" in ast.unparse(node):
                if sets_length:
                    line = "with len_epoch, this loop makes one batch more than that"
                    self.notes.append(f"{name}:{node.lineno}: {line}")
        if name in self.old.python_configs:
            line = "a config in Python, which -c takes as JSON or YAML only: see what reads it"
            self.notes.append(f"{name}:1: {line}")

    @staticmethod
    def _packages(path: Path) -> set[str]:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {re.split(r"[^\w.-]", line.strip())[0] for line in lines} - {""}

    @property
    def unchanged(self) -> list[str]:
        others = {*self.changes, *self.skipped, *self.renamed}
        return [name for name in self.old.user_files if name not in others]

    def page(self) -> str:
        """The text of MIGRATED.md."""
        return f"{self.done()}\n{self.left_to_do()}"

    def done(self) -> str:
        """What was done, file by file."""
        parts = [
            "# Moved from an old project",
            f"It is of {self.old.era}.",
            "## Carried over as they are",
            ", ".join(self.unchanged) or "nothing",
            "Not carried over, since the new project has its own: "
            + ", ".join(self.old.base_files),
        ]
        if self.renamed:
            lines = [f"- {name} is {new} now" for name, new in self.renamed.items()]
            parts += ["## Renamed, as the new project has such a name", "\n".join(lines)]
        if self.kept:
            lines = [f"- {line}" for line in self.kept]
            parts += ["## Changed by you in the base, and carried over", "\n".join(lines)]
        parts += ["## Edited, and why"]
        for name, (reasons, diff) in self.changes.items():
            parts += [f"### {name}", "\n".join(f"- {one}" for one in reasons)]
            parts += [f"```diff\n{diff.rstrip()}\n```"]
        if self.checkpoints:
            parts += ["## Checkpoints", "\n".join(map(self._of_checkpoint, self.checkpoints))]
        return "\n\n".join(parts) + "\n"

    def left_to_do(self) -> str:
        """What a person must see to, in order, and the commands that check it."""
        lines = [f"{n}. {one}" for n, one in enumerate(sorted(set(self.notes), key=_order), 1)]
        parts = ["## Left to do, in this order", "\n".join(lines) or "Nothing was found."]
        if self.checks:
            commands = "\n".join(f"python {' '.join(one)}" for one in self.checks)
            parts += [f"Then check each config:\n\n```\n{commands}\n```"]
        if self.tests:
            first, last = self.tests[0], self.tests[-1]
            others = f", or where that fails\n`{last}`" if last != first else ""
            parts += [f"After a training, test its checkpoint: `{first}`{others}."]
        return "\n\n".join(parts) + "\n"

    def _of_checkpoint(self, said: dict[str, Any]) -> str:
        name = said["old"].removeprefix(f"{self.old.root}/")
        if "refused" in said:
            return f"- {name}: {said['refused']}"
        return f"- {name}: {said['weights']} weights, equal bit for bit; outputs {said['outputs']}"


def _order(note: str) -> tuple[str, int, str]:
    """By file and line; what is about no line comes first."""
    file, _, rest = note.partition(":")
    line = rest.partition(":")[0]
    return (file, int(line), note) if line.isdecimal() else ("", 0, note)
