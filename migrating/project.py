"""The new project: baked beside its place, filled with the user's files, then moved there."""

import ast
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from migrating import config, rules, scripts, testing
from migrating.additions import Part, carried_classes, draws_validation_anew, part_of
from migrating.carry import NEW_PLACES, WRITERS, Carried
from migrating.errors import UserError
from migrating.imports import FROM_OLD, Imports, NamesIn, module_of
from migrating.names import Names
from migrating.python import run
from migrating.report import Report
from migrating.source import Source, built_on, defined, loaded
from migrating.tree import BASE, OldProject, parse_config, trainer_class
from migrating.uses import Uses

TEMPLATE = Path(__file__).resolve().parent.parent
NEW = TEMPLATE / "{{cookiecutter.project_name}}"
PACKAGES = ("base", "logger", "utils")
MOST_SECONDS = 300  # of a check
MOST_CHECKS = 6  # are run at the end; the commands of all are shown
# The parts of a fresh project that are no example: nothing of the old one takes their place
PARTS = ["base", "logger", "utils", "tools", "parse_config.py", "settings.py", "pyproject.toml"]
PARTS += ["requirements.txt", "runs.py"]
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
        report.checkpoints = convert_checkpoints(old, new, report)
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
    answers = [f"project_name={name}", "description=", "license=none", "size=full"]
    command = ["cookiecutter", "--no-input", "--config-file", settings, clean, *answers]
    done = run("-m", *command, cwd=workshop)
    if done.returncode:
        raise UserError((done.stdout + done.stderr).strip().splitlines()[-1])
    new = workshop / name
    for path in list(new.iterdir()):
        if path.name not in [*PARTS, *REPLACED]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return new


def fill(old: OldProject, new: Path) -> Report:
    """Put the user's files into a fresh project, edited where they have to be."""
    report = Report(old)
    renamed = clashes(old, new)
    line, fault = testing.why_unusable(old)
    if fault:
        renamed["test.py"] = "test_old.py"
    modules = modules_of(new)
    classes = carried_classes(old)
    wanted = imported_names(old) - set().union(*modules.values())
    parts = [part_of(old, package, classes, wanted) for package in FROM_OLD]
    sources = read_sources(old, report)
    generated = [generate(part, modules[part.package]) for part in parts if part.bodies]
    replace_in_place(old, classes, sources, report)
    edit(old, classes, [*sources, *generated], report)
    imports = Imports(
        old.trees,
        modules,
        {part.package: part.names for part in parts},
        modules_renamed(renamed, old),
    )
    for source in [*sources, *generated]:
        imports(source)
    runner = (TEMPLATE / "migrating/old_script.py").read_text(encoding="utf-8")
    if "ConfigParser" in imports.added["parse_config"]:
        runner = runner.replace("from parse_config import", "from old_parse_config import", 1)
    (new / "tools/old_script.py").write_text(runner, encoding="utf-8")
    shutil.copy(TEMPLATE / "migrating/old_test.py", new / "tools")
    report.kept += [line for part in parts for line in part.kept]
    report.notes += [line for part in parts for line in part.left]
    copy_files(old, new, renamed, report)
    for source in [*sources, *generated]:
        write(source, new, renamed.get(source.name, source.name), report, source in generated)
    read = keys_read([*sources, *generated])
    adapt_configs(old, new, report, read)
    report.look_at(new, draws_validation_anew(classes))
    rename_in_notes(renamed, report)
    report.trains = [one.name for one in scripts.that_train(sources, report.entries)]
    add_test_script(new, report.trains, report)
    if fault:
        line_of = f"test_old.py:{line}: the old test.py {fault}"
        report.notes.append(f"{line_of}: test.py has the trainer's validation in its place")
    report.checks = checks(sources, report)
    report.keys_read = read
    return report


def rename_in_notes(renamed: dict[str, str], report: Report) -> None:
    for before, now in renamed.items():
        report.notes = [
            f"{now}{one.removeprefix(before)}" if one.startswith(f"{before}:") else one
            for one in report.notes
        ]


def add_test_script(new: Path, trains: list[str], report: Report) -> None:
    """A test.py where there is none."""
    is_there = (new / "test.py").exists()
    if not trains:
        if not is_there:
            report.notes.append("no test.py was added: there is no script that trains")
        return
    report.tests = ["python test.py -r CHECKPOINT"]
    if is_there:
        report.tests += [f"python -m tools.old_test {trains[0]} -r CHECKPOINT"]
        return
    text = testing.SCRIPT.format(script=trains[0])
    (new / "test.py").write_text(text, encoding="utf-8")
    reason = f"none that can run: this tests with the trainer that {trains[0]} makes"
    report.changed("test.py", "", text, [reason])


def edit(
    old: OldProject, classes: dict[str, Carried], sources: list[Source], report: Report
) -> None:
    """Everything but the imports."""
    found = [n for one in sources for n in one.tree.body if isinstance(n, ast.ClassDef)]
    new_base = trainer_class((NEW / "base/base_trainer.py").read_text(encoding="utf-8"))
    has_old_init = "def __init__" in classes["BaseTrainer"].text
    names = Names(old.base_class(), new_base, built_on("BaseTrainer", found), has_old_init)
    names.has_plain_writer = old.classes.keys().isdisjoint(WRITERS)
    uses = Uses(old, classes, sources)
    parser = old.classes.get("ConfigParser")
    takes_parser = parser is not None and scripts.takes_parser(parser.node)
    of_dicts = parser is not None and scripts.takes_dict(parser.node)
    for source in sources:
        if of_dicts:
            scripts.configs_of_dicts(source)
        for rule in rules.RULES:
            rule(source)
        names(source)
        uses(source)
        if source.name in old.python_configs:
            config.convert_python(source, old.python_configs[source.name])
        if scripts.is_entry(source):
            report.entries[source.name] = reason = scripts.hand_over(source)
            if reason and (source.name in ("train.py", "test.py") or "ConfigParser" in source.text):
                if takes_parser:
                    scripts.old_config_parsers(source)
                line = scripts.last_line(source)
                report.notes.append(f"{source.name}:{line}: left as it is, since {reason}")


def clashes(old: OldProject, new: Path) -> dict[str, str]:
    """The user's files that have the name of a part of the new project, and their names now."""
    found: dict[str, str] = {}
    for name in old.user_files:
        first, slash, rest = name.partition("/")
        if not slash and name.endswith(".py") and (new / name.removesuffix(".py")).is_dir():
            found[name] = f"old_{name}"  # utils.py beside utils/
        elif name in ("settings.py", "tools.py", "runs.py"):
            found[name] = f"old_{name}"
        elif first in ("tools", "settings") and slash:
            found[name] = f"old_{first}/{rest}"
        elif first in PARTS and name.endswith(".py") and (new / name).exists():
            folder, _, last = name.rpartition("/")
            found[name] = f"{folder}/old_{last}"
    return found


def modules_renamed(files: dict[str, str], old: OldProject) -> dict[str, str]:
    """The modules of renamed files; of a file and a folder of a name, imports mean the folder."""
    folders = {name.partition("/")[0] for name in old.trees if "/" in name}
    found = {module_of(a): module_of(b) for a, b in files.items() if a.endswith(".py")}
    found = {a: b for a, b in found.items() if a not in folders}
    for name in files:
        if name.startswith(("tools/", "settings/")):
            first = name.partition("/")[0]
            found[first] = f"old_{first}"
    return found


def imported_names(old: OldProject) -> set[str]:
    """The names that the user's files take from others."""
    names: set[str] = set()
    for file, tree in old.trees.items():
        if file in BASE:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                names |= {one.name for one in node.names}
                if node.names[0].name == "*":
                    names |= loaded(tree)
    return names


def generate(part: Part, exported: set[str]) -> Source:
    """What is carried over of a part of the base, as a file of the new project."""
    is_read_by_others = part.package == "utils"  # as util
    return Source(part.target, part.text(exported if is_read_by_others else set()))


def replace_in_place(
    old: OldProject, classes: dict[str, Carried], sources: list[Source], report: Report
) -> None:
    """Classes of the base that lie in files of the user's own."""
    by_name = {source.name: source for source in sources}
    for name, one in old.classes.items():
        source, found = by_name.get(one.file), classes[name]
        if one.is_in_base or source is None:
            continue
        report.kept += found.kept
        report.notes += found.left
        if found.is_as_it_was:
            continue
        module, new = NEW_PLACES[name]
        node = next(n for n in source.tree.body if getattr(n, "name", "") == name)
        reason = f"{name} of the base is replaced by today's"
        if found.text:
            head = "".join(f"{line}\n" for line in found.imports)
            head += f"from {module} import {new} as New{new}\n\n\n"
            source.replace(node, head + found.text.rstrip(), reason)
        else:
            alias = f" as {name}" * (name != new)
            source.replace(node, f"from {module} import {new}{alias}", reason)
    sources[:] = [one.as_edited() if one.edits else one for one in sources]


def copy_files(old: OldProject, new: Path, renamed: dict[str, str], report: Report) -> None:
    for name in old.user_files:
        target = new / renamed.get(name, name)
        if name in renamed:
            report.renamed[name] = renamed[name]
        elif name.split("/")[0] in PARTS and target.exists():
            report.skipped.append(name)
            if name != "requirements.txt":  # of which report.look_at speaks
                report.notes.append(f"{name}: the new project has such a file: not carried over")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(old.root / name, target)


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


def write(source: Source, new: Path, name: str, report: Report, is_new: bool) -> None:
    edited, before = source.edited, source.before or source.text
    report.notes += [one.replace(f"{source.name}:", f"{name}:", 1) for one in source.notes]
    if is_new:
        (new / name).write_text(edited, encoding="utf-8", errors="surrogateescape")
        report.changed(name, "", edited, ["what the user had added to the old base"])
    elif edited != before and (new / name).exists():
        (new / name).write_text(edited, encoding="utf-8", errors="surrogateescape")
        reasons = dict.fromkeys(source.reasons + [edit.reason for edit in source.applied])
        report.changed(name, before, edited, reasons)


def modules_of(new: Path) -> NamesIn:
    """The names in each module of the base, by its dotted path."""
    paths = [path for package in PACKAGES for path in (new / package).rglob("*.py")]
    return {
        module_of(path.relative_to(new).as_posix()): defined(ast.parse(path.read_text("utf-8")))
        for path in [*paths, new / "parse_config.py"]
    }


def keys_read(sources: list[Source]) -> set[str]:
    """The keys that the code of the new project reads."""
    trees = []
    for source in sources:
        with suppress(SyntaxError):  # of which the report speaks
            trees.append(ast.parse(source.edited))
    return config.read_in_code(trees)


def adapt_configs(old: OldProject, new: Path, report: Report, read: set[str]) -> None:
    """Today's names in the configs, and settings.py with the user's own keys."""
    configs = []
    for name in old.configs:
        before = (new / name).read_text(encoding="utf-8")
        after, reasons = config.convert_text(before, name, read)
        configs.append(parse_config(name, after))
        if reasons:
            (new / name).write_text(after, encoding="utf-8")
            report.changed(name, before, after, dict.fromkeys(reasons))
    configs += [config.convert(one, read)[0] for one in old.python_configs.values()]
    text = (new / "settings.py").read_text(encoding="utf-8")
    added = {key: None for key in config.set_in_code(old.trees) if f"\n    {key}:" not in text}
    configs = [{**added, **one} for one in configs]
    report.configs = [*old.configs] or [*old.python_configs]
    done = run("-c", config.MISTAKES, cwd=new, input=json.dumps(configs))
    assert done.returncode == 0, done.stderr
    before = (new / "settings.py").read_text(encoding="utf-8")
    after, left = config.adapt_settings(before, json.loads(done.stdout))
    if after != before:
        (new / "settings.py").write_text(after, encoding="utf-8")
        reasons = ["keys of the old config are declared, so that they are none by mistake"]
        report.changed("settings.py", before, after, reasons)
    first = next(iter(old.configs), "config.json")
    lines = [f"{first}: {'.'.join(map(str, path))}{words}" for path, words in left]
    report.notes += dict.fromkeys(lines)


def convert_checkpoints(old: OldProject, new: Path, report: Report) -> list[dict[str, Any]]:
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
    job = {"pairs": pairs, "template": str(TEMPLATE), "read": sorted(report.keys_read)}
    job["script"] = report.trains[0] if report.trains else "train.py"
    done = run("-c", script, cwd=new, input=json.dumps(job))  # -c puts the new project on the path
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


def checks(sources: list[Source], report: Report) -> list[list[str]]:
    """The command of each check: of every config with the script that trains, of other scripts."""
    found = []
    for number, source in enumerate(scripts.that_train(sources, report.entries)):
        takes_config = "--config" in source.text or "-c" in source.text
        configs = report.configs[: None if number == 0 else 1] if takes_config else []
        for name in configs or [""]:
            arguments = ["-c", name] if name else []
            if report.entries[source.name]:
                found.append(["-m", "tools.old_script", source.name, *arguments])
            else:
                found.append([source.name, *arguments, "--check"])
    return found


def check(folder: Path, report: Report) -> tuple[str, bool]:
    """What the checks say in the new project, and whether all was well."""
    if not report.checks:
        return "not tried: there is no script that trains, or no config", False
    said, is_well = [], True
    for command in report.checks[:MOST_CHECKS]:
        try:
            done = run(*command, cwd=folder, timeout=MOST_SECONDS)
        except subprocess.TimeoutExpired:
            said.append(f"$ python {' '.join(command)}\nnot done after {MOST_SECONDS} s")
            is_well = False
            continue
        said.append(f"$ python {' '.join(command)}\n{done.stdout}{done.stderr}".rstrip())
        is_well = is_well and not done.returncode and "All is well." in done.stdout
    for command in report.checks[MOST_CHECKS:]:
        said.append(f"$ python {' '.join(command)}\nnot tried yet")
    return "\n\n".join(said), is_well
