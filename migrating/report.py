"""What migrate.py says, on the console and in MIGRATED.md."""

import re
from collections.abc import Iterable
from difflib import unified_diff
from pathlib import Path
from typing import Any

from migrating.tree import OldProject


class Report:
    def __init__(self, old: OldProject) -> None:
        self.old = old
        self.changes: dict[str, tuple[list[str], str]] = {}  # {file: (reasons, diff)}
        self.skipped: list[str] = []
        self.notes: list[str] = []
        self.configs: list[str] = []
        self.checkpoints: list[dict[str, Any]] = []

    def changed(self, name: str, before: str, after: str, reasons: Iterable[str]) -> None:
        lines, new_lines = (text.splitlines(keepends=True) for text in (before, after))
        diff = "".join(unified_diff(lines, new_lines, f"old/{name}", f"new/{name}", n=1))
        self.changes[name] = (list(reasons), diff)

    def look_at(self, new: Path) -> None:
        """Notes on what only a person can judge."""
        if names := self.old.large_files:
            self.notes.append(
                f"large files stay where they are, copy or link them: {', '.join(names)}"
            )
        loaders = [one.get("data_loader") or {} for one in self.old.configs().values()]
        if self.old.checkpoints and any("validation_split" in str(one) for one in loaders):
            self.notes.append(
                "validation_split draws other samples than the old base did: on some of them, the "
                "old checkpoints were trained; docs/migrating.md says how to keep the old part"
            )
        if (self.old.root / "requirements.txt").exists():
            listed = self._packages(self.old.root / "requirements.txt")
            have = self._packages(new / "requirements.txt") | {"tensorboardX", "tensorboardx"}
            if more := sorted(listed - have):
                self.notes.append(f"requirements.txt: add what is still used of {', '.join(more)}")
        for name in self.old.user_files:
            if name.endswith(".py"):
                text = self.old.text(name)
                if re.search(r"batch_idx == self\.len_epoch", text):
                    self.notes.append(
                        f"{name}: with len_epoch, this loop makes one batch more than that"
                    )

    @staticmethod
    def _packages(path: Path) -> set[str]:
        lines = path.read_text(encoding="utf-8").splitlines()
        return {re.split(r"[^\w.-]", line.strip())[0] for line in lines} - {""}

    @property
    def unchanged(self) -> list[str]:
        others = {*self.changes, *self.skipped}
        return [name for name in self.old.user_files if name not in others]

    def page(self) -> str:
        """The text of MIGRATED.md."""
        parts = [
            "# Moved from an old project",
            f"It is of {self.old.era}.",
            "## Carried over as they are",
            ", ".join(self.unchanged) or "nothing",
            "Not carried over, since the new project has its own: "
            + ", ".join(self.old.base_files),
            "## Edited, and why",
        ]
        for name, (reasons, diff) in self.changes.items():
            parts += [f"### {name}", "\n".join(f"- {one}" for one in reasons)]
            parts += [f"```diff\n{diff.rstrip()}\n```"]
        parts += ["## For a person to decide"]
        parts += ["\n".join(f"- {one}" for one in self.notes) or "Nothing was found."]
        if self.checkpoints:
            parts += ["## Checkpoints", "\n".join(map(self._of_checkpoint, self.checkpoints))]
        return "\n\n".join(parts) + "\n"

    def _of_checkpoint(self, said: dict[str, Any]) -> str:
        name = said["old"].removeprefix(f"{self.old.root}/")
        if "refused" in said:
            return f"- {name}: {said['refused']}"
        return f"- {name}: {said['weights']} weights, equal bit for bit; outputs {said['outputs']}"
