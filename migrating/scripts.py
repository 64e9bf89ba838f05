"""The end of an old script, where it reads its command line and calls main()."""

import ast
from typing import Any

from migrating.source import Source, dotted

REASON = "one line for each mistake, -c, -r, -d and KEY=VALUE as everywhere, and --check"
READERS = ("ConfigParser", "json.load", "read_json", "torch.load")


def hand_over(source: Source) -> bool:
    """Let run() of tools/old_script.py read the command line; True if that could be done."""
    block: Any = next((node for node in source.tree.body if _is_main_block(node)), None)
    if block is None:
        return False
    parser = next((name for node in block.body if (name := _parser_name(node))), None)
    places = [i for i, node in enumerate(block.body) if _prepares(node, parser)]
    if parser is None or not places:
        return False
    tail = block.body[places[-1] + 1 :]
    text = "\n".join(map(ast.unparse, tail))
    call = tail[-1].value if tail and isinstance(tail[-1], ast.Expr) else None
    if not isinstance(call, ast.Call) or not any(reader in text for reader in READERS):
        return False
    names = {one.id for node in block.body for one in source.nodes(ast.Name, inside=node)}
    options = ", options" if "options" in names else ""
    text = f"run({source.segment(call.func)}, {parser}{options})"
    source.edit(source.start(tail[0]), source.end(tail[-1]), text, REASON)
    _import_run(source, block)
    return True


def _import_run(source: Source, block: Any) -> None:
    imports = [n for n in source.tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    rest = source.text[: source.start(block)]
    for node in imports:
        if getattr(node, "module", "") == "parse_config" and rest.count("ConfigParser") == 1:
            source.replace(node, "from tools.old_script import run", REASON)
            return
    source.insert_after(imports[-1], ["from tools.old_script import run"], REASON)


def _is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _parser_name(node: ast.stmt) -> str | None:
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        if dotted(node.value.func).endswith("ArgumentParser"):
            return dotted(node.targets[0])
    return None


def _prepares(node: ast.stmt, parser: str | None) -> bool:
    """Whether a statement only says what may be on the command line."""
    if isinstance(node, ast.Assign):
        targets = {dotted(target) for target in node.targets}
        return _parser_name(node) is not None or bool(targets & {"options", "CustomArgs"})
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and dotted(node.value.func) == f"{parser}.add_argument"
    )
