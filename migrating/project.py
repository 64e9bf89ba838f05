"""The new project: baked beside its place, filled with the user's files, then moved there."""

import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from migrating import config, rules, scripts
from migrating.additions import additions, changes_of_base
from migrating.errors import UserError
from migrating.names import PACKAGES, Names, NamesIn, imports_of_base
from migrating.report import Report
from migrating.source import Source, defined, is_trainer
from migrating.tree import OldProject, trainer_class

TEMPLATE = Path(__file__).resolve().parent.parent
# The parts of a fresh project that are no example: nothing of the old one takes their place
PARTS = ["base", "logger", "utils", "tools", "parse_config.py", "settings.py", "pyproject.toml"]
PARTS += ["requirements.txt"]
# Those that a file of the old project may take the place of
REPLACED = ["docs", ".editorconfig", ".gitignore", ".pre-commit-config.yaml"]

# What work in a clone of the template may have left in it
LEFTOVERS = shutil.ignore_patterns(".git", ".venv", "build", "saved", "__pycache__", ".*_cache")


def migrate(old: OldProject, folder: Path) -> Report:
    """Make the new project in `folder`. Raises UserError where that cannot be."""
    if folder.exists():
        raise UserError(f"{folder}: is there already")
    if old.root.resolve() in folder.resolve().parents:
        raise UserError(f"{folder}: lies in the old project, which is not to be changed")
    try:
        workshop = tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made: {error.strerror}") from None
    try:
        new = bake(Path(workshop), folder.name)
        report = fill(old, new)
        report.checkpoints = convert_checkpoints(old, new)
        (new / "MIGRATED.md").write_text(report.page(), encoding="utf-8")
        os.rename(new, folder)
    finally:
        shutil.rmtree(workshop, ignore_errors=True)
    return report


def bake(workshop: Path, name: str) -> Path:
    """A fresh project without the example. Raises UserError where cookiecutter refuses the name."""
    settings = workshop / "settings.yaml"  # so that the user's own are left alone
    folders = {"cookiecutters_dir": str(workshop / "c"), "replay_dir": str(workshop / "r")}
    settings.write_text(json.dumps(folders))
    clean = shutil.copytree(TEMPLATE, workshop / "template", ignore=LEFTOVERS)
    answers = [f"project_name={name}", "description=", "license=none"]
    command = ["cookiecutter", "--no-input", "--config-file", settings, clean, *answers]
    done = run("-m", *command, cwd=workshop)
    if done.returncode:
        raise UserError((done.stdout + done.stderr).strip().splitlines()[-1])
    new = workshop / name
    for path in list(new.iterdir()):
        if path.name not in [*PARTS, *REPLACED]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return new


def run(*command: Any, cwd: Path, **options: Any) -> subprocess.CompletedProcess:
    """Python, in another process."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
    full = [sys.executable, *map(str, command)]
    return subprocess.run(
        full, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", **options
    )


def fill(old: OldProject, new: Path) -> Report:
    """Put the user's files into a fresh project, edited where they have to be."""
    report = Report(old)
    modules = modules_of(new)
    exported = {package: modules[f"{package}.__init__"] for package in PACKAGES}
    added = {
        package: carry_additions(old, new, package, exported[package], report)
        for package in PACKAGES
    }
    sources = read_sources(old, report)
    modules |= {dotted_path(one.name): defined(one.tree) for one in sources}
    classes = [n for one in sources for n in one.tree.body if hasattr(n, "bases")]
    new_base = trainer_class((new / "base/base_trainer.py").read_text(encoding="utf-8"))
    names = Names(old.base_class(), new_base, list(filter(is_trainer, classes)))
    shutil.copy(TEMPLATE / "migrating/old_script.py", new / "tools/old_script.py")
    for source in sources:
        for rule in rules.RULES:
            rule(source)
        names(source)
        if not scripts.hand_over(source) and source.name in ("train.py", "test.py"):
            report.notes.append(
                f"{source.name}: how it ends is not understood: call run() of "
                "tools/old_script.py there, for --check and the command line"
            )
        imports_of_base(source, exported, added, modules)
    for name in old.user_files:
        if name.split("/")[0] in PARTS and (new / name).exists():
            report.skipped.append(name)
            if name != "requirements.txt":  # of which report.look_at speaks
                report.notes.append(f"{name}: the new project has such a file: not carried over")
            continue
        target = new / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(old.root / name, target)
    for source in sources:
        write(source, new, report)
    adapt_configs(old, new, report)
    report.notes += changes_of_base(old, lambda name: text_of(new / name))
    report.look_at(new)
    return report


def text_of(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.exists() else None


def read_sources(old: OldProject, report: Report) -> list[Source]:
    """The user's Python files; the report gets a note of each that cannot be read."""
    sources = []
    for name in old.user_files:
        if name.endswith(".py"):
            try:
                sources.append(Source(name, old.text(name)))
            except SyntaxError as error:
                report.notes.append(f"{name}:{error.lineno}: no Python of today: {error.msg}")
            except ValueError:
                report.notes.append(f"{name}: is not UTF-8 text")
    return sources


def write(source: Source, new: Path, report: Report) -> None:
    edited = source.edited
    report.notes += source.notes
    if edited != source.text and (new / source.name).exists():
        (new / source.name).write_text(edited, encoding="utf-8", errors="surrogateescape")
        reasons = dict.fromkeys(edit.reason for edit in source.applied)
        report.changed(source.name, source.text, edited, reasons)


def carry_additions(
    old: OldProject, new: Path, package: str, exported: set[str], report: Report
) -> set[str]:
    """Put what the user has added to a part of the base into a file of its own; the names in it."""
    found = additions(old, package, exported)
    if found is None:
        return set()
    text, names = found
    target = f"{package}/from_old.py"
    (new / target).write_text(text, encoding="utf-8", errors="surrogateescape")
    report.changed(target, "", text, ["what the user had added to the old base"])
    return names


def modules_of(new: Path) -> NamesIn:
    """The names in each module of the base, by its dotted path."""
    return {
        dotted_path(path.relative_to(new).as_posix()): defined(ast.parse(path.read_text("utf-8")))
        for package in PACKAGES
        for path in (new / package).rglob("*.py")
    }


def dotted_path(name: str) -> str:
    return name.removesuffix(".py").replace("/", ".")


def adapt_configs(old: OldProject, new: Path, report: Report) -> None:
    """Today's names in the configs, and settings.py with the user's own keys."""
    configs = []
    for name in old.configs():
        before = (new / name).read_text(encoding="utf-8")
        after, reasons = config.convert_text(before)
        configs.append(json.loads(after))
        if reasons:
            (new / name).write_text(after, encoding="utf-8")
            report.changed(name, before, after, dict.fromkeys(reasons))
    report.configs = list(old.configs())
    done = run("-c", config.MISTAKES, cwd=new, input=json.dumps(configs))
    assert done.returncode == 0, done.stderr
    before = (new / "settings.py").read_text(encoding="utf-8")
    after, left = config.adapt_settings(before, json.loads(done.stdout))
    if after != before:
        (new / "settings.py").write_text(after, encoding="utf-8")
        reasons = ["keys of the old config are declared, so that they are none by mistake"]
        report.changed("settings.py", before, after, reasons)
    report.notes += [f"config: {'.'.join(path)}{words}" for path, words in left]


def convert_checkpoints(old: OldProject, new: Path) -> list[dict[str, Any]]:
    """Old checkpoints written anew under the same names; what was found for each.

    Raises UserError where there is no room.
    """
    pairs = []
    for name in old.checkpoints:
        target = new / (name.removesuffix(".tar") if name.endswith(".pth.tar") else name)
        target.parent.mkdir(parents=True, exist_ok=True)
        pairs.append([str(old.root / name), str(target)])
    if not pairs:
        return []
    size = sum(Path(path).stat().st_size for path, _ in pairs)
    if size > shutil.disk_usage(new).free / 2:
        raise UserError(f"{new.name}: too little room for {size / 1e9:.1f} GB of checkpoints")
    script = (TEMPLATE / "migrating/convert_checkpoints.py").read_text(encoding="utf-8")
    job = json.dumps({"pairs": pairs, "template": str(TEMPLATE)})
    done = run("-c", script, cwd=new, input=job)  # -c puts the new project on the path
    if done.returncode:
        raise UserError(f"checkpoints: {done.stderr.strip().splitlines()[-1]}")
    mark = "checkpoint: "
    said = [line.removeprefix(mark) for line in done.stdout.splitlines() if line.startswith(mark)]
    findings = list(map(json.loads, said))
    for finding, (source, copy) in zip(findings, pairs, strict=True):
        if "refused" in finding and not source.startswith(str(old.root / "saved")):
            shutil.copy(source, copy)  # perhaps weights that the user's own code reads
            finding["refused"] += "; copied as it is"
    return findings


def check(folder: Path, configs: list[str]) -> tuple[str, bool]:
    """What `python train.py --check` says in the new project, and whether all was well."""
    if not configs or not (folder / "train.py").exists():
        return "not tried: there is no train.py, or no config", False
    command = ["train.py", "-c", configs[0], "--check"]
    done = run(*command, cwd=folder)
    return f"$ python {' '.join(command)}\n{done.stdout}{done.stderr}".rstrip(), not done.returncode
