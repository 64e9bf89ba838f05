"""What migrate.py says, on the console and in MIGRATED.md."""

import re
from difflib import unified_diff


class Report:
    def __init__(self, old):
        self.old = old
        self.changes = {}  # {file: (reasons, diff)}
        self.skipped = []
        self.notes = []
        self.configs = []
        self.checkpoints = []

    def changed(self, name, before, after, reasons):
        lines = [text.splitlines(keepends=True) for text in (before, after)]
        diff = "".join(unified_diff(*lines, f"old/{name}", f"new/{name}", n=1))
        self.changes[name] = (list(reasons), diff)

    def look_at(self, new):
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
    def _packages(path):
        lines = path.read_text(encoding="utf-8").splitlines()
        return {re.split(r"[^\w.-]", line.strip())[0] for line in lines} - {""}

    @property
    def unchanged(self):
        others = {*self.changes, *self.skipped}
        return [name for name in self.old.user_files if name not in others]

    def page(self):
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

    def _of_checkpoint(self, said):
        name = said["old"].removeprefix(f"{self.old.root}/")
        if "refused" in said:
            return f"- {name}: {said['refused']}"
        return f"- {name}: {said['weights']} weights, equal bit for bit; outputs {said['outputs']}"
