"""The end of an old script, where it reads its command line and calls main()."""

import ast
from collections.abc import Iterable
from typing import Any

from migrating.source import Source, dotted, loaded, methods, stored

REASON = "one line for each mistake, -c, -r, -d and KEY=VALUE as everywhere, and --check"
READERS = ("ConfigParser", "json.load", "read_json", "torch.load")


class Block:
    """The main block of a script, where it is as that of the original: see `is_plain`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        nodes: list[Any] = source.tree.body
        self.node = next((one for one in nodes if is_main_block(one)), None)
        body: list[Any] = self.node.body if self.node is not None else []
        self.parser = next((name for one in body if (name := _parser_name(one))), None)
        calls = [one for one in body if self._is_call_of_main(one)]
        self.calls = [one for one in calls if dotted(one.value.func) == "main"] or calls
        self.config = self.calls[0].value.args[0].id if self.calls else ""
        self.args = {
            dotted(one.targets[0])
            for one in body
            if self._is_call(one, f"{self.parser}.parse_args")
        }
        self.dropped = [one for one in body if self._reads_command_line(one)]
        self.options = next((text for one in body if (text := self._options_in(one))), "")

    def why_not(self) -> str:
        """Why the block cannot be written anew; "" where it can."""
        if self.node is None or self.parser is None:
            return "it has no argparse parser in a main block"
        if len(self.calls) != 1:
            return "its end is no single call of main(config) or main(config, resume)"
        text = "\n".join(map(ast.unparse, self.dropped))
        if not any(reader in text for reader in READERS):
            return "it reads no config"
        for one in self.node.body:
            others = one not in self.dropped and one not in self.calls and one is not self.node
            if others and loaded(one) & ({self.config} | (self.args - {self.parser})):
                return f"line {one.lineno} uses what was read"
            if others and stored(one) & {self.config, *self.args} - {self.parser}:
                return f"line {one.lineno} sets what was read"
        for one in ast.walk(self.source.tree):
            if isinstance(one, ast.FunctionDef):
                own = stored(one) | {
                    argument.arg for argument in ast.walk(one.args) if isinstance(argument, ast.arg)
                }
                if (loaded(one) - own) & ({self.config, *self.args} - {self.parser}):
                    return f"{one.name}() uses what was read"
        return ""

    def _is_call_of_main(self, node: Any) -> bool:
        """Exactly main(config) or main(config, resume)."""
        call = node.value if isinstance(node, ast.Expr) else None
        if not isinstance(call, ast.Call) or not isinstance(call.func, (ast.Name, ast.Attribute)):
            return False
        names = [dotted(one) for one in call.args]
        is_known = bool(names) and names[0].isidentifier() and "config" in names[0].lower()
        is_known = is_known and dotted(call.func) not in ("print", "pprint")
        resume = len(names) == 1 or (len(names) == 2 and names[1].rpartition(".")[2] == "resume")
        return is_known and resume and not call.keywords

    @staticmethod
    def _is_call(node: Any, name: str) -> bool:
        return (
            isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Call)
            and dotted(node.value.func) == name
        )

    def _reads_command_line(self, node: Any) -> bool:
        """Whether a statement does what run() does: parse, read the config, choose the device."""
        if self._is_call(node, f"{self.parser}.parse_args"):
            return not node.value.args
        if self._is_config(node):
            return True
        if not isinstance(node, (ast.If, ast.Assert, ast.Assign)) or not self.config:
            return False
        return self._is_of_2018(node)

    def _is_config(self, node: Any) -> bool:
        """config = ConfigParser.from_args(parser, options), in early 2019 without from_args."""
        if not any(self._is_call(node, f"ConfigParser{x}") for x in ("", ".from_args")):
            return False
        call = node.value
        is_plain = dotted(call.args[0]) in {self.parser, *self.args} if call.args else False
        return is_plain and len(call.args) <= 2 and not call.keywords

    def _is_of_2018(self, node: Any) -> bool:
        """What scripts of 2018 did with args.config, args.resume and args.device."""
        if isinstance(node, ast.Assert):
            return "exists" in ast.unparse(node) or loaded(node) == {self.config}
        if isinstance(node, ast.Expr):
            name = dotted(getattr(node.value, "func", node.value))
            return name.endswith(("print", ".warning", ".info"))
        if isinstance(node, ast.If):
            return all(map(self._is_of_2018, [*node.body, *node.orelse])) and (
                loaded(node.test) <= {*self.args, "resume"}
            )
        if isinstance(node, ast.Raise):
            return True
        if isinstance(node, ast.With):
            return all(map(self._is_of_2018, node.body))
        if not isinstance(node, ast.Assign):
            return False
        target = dotted(node.targets[0])
        text = ast.unparse(node)
        return (
            (target == self.config and any(one in text for one in (*READERS[1:], " = None")))
            or (target == "path" and "save_dir" in text)
            or (target == "resume" and "resume" in text)
            or "CUDA_VISIBLE_DEVICES" in ast.unparse(node.targets[0])
        )

    def _options_in(self, node: Any) -> str:
        if self._is_config(node) and len(node.value.args) == 2:
            return self.source.segment(node.value.args[1])
        return ""


def hand_over(source: Source) -> str:
    """Let run() of tools/old_script.py read the command line; why not where that cannot be."""
    block = Block(source)
    if reason := block.why_not():
        return reason
    call = block.calls[0].value
    text = f"run({source.segment(call.func)}, {block.parser}"
    text += f", {block.options}" * bool(block.options)
    text += ", with_resume=True" * (len(call.args) == 2)
    source.replace(block.calls[0], text + ")", REASON)
    for one in block.dropped:
        source.remove_lines(one, REASON)
    _import_run(source, block)
    return ""


def _import_run(source: Source, block: Block) -> None:
    imports = [n for n in source.tree.body if isinstance(n, (ast.Import, ast.ImportFrom))]
    left = {id(inner) for one in block.dropped for inner in ast.walk(one)}
    uses = [
        one for one in source.nodes(ast.Name) if one.id == "ConfigParser" and id(one) not in left
    ]
    for node in imports:
        if getattr(node, "module", "") == "parse_config":
            if [one.name for one in node.names] == ["ConfigParser"] and not uses:
                source.replace(node, "from tools.old_script import run", REASON)
                return
    source.insert_after(imports[-1], ["from tools.old_script import run"], REASON)


def is_main_block(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def _parser_name(node: Any) -> str | None:
    if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
        if dotted(node.value.func).endswith("ArgumentParser"):
            return dotted(node.targets[0])
    return None


def is_entry(source: Source) -> bool:
    """Whether a file is a script of the project's root that reads a config."""
    has_block = any(map(is_main_block, source.tree.body))
    return "/" not in source.name and has_block and "config" in source.text.lower()


def trains(source: Source, inside: Any = None) -> bool:
    """Whether a script, or a part of it, trains something, so that it can be checked."""
    found = source.nodes(ast.Attribute, inside=inside)
    return any(one.attr == "train" for one in found if _is_trainer(one))


def that_train(sources: list[Source], entries: Iterable[str]) -> list[Source]:
    """The scripts among the entries that train something, train.py first.

    A script may leave that to a function of a module beside it.
    """
    direct = {
        (one.name.removesuffix(".py"), function.name)
        for one in sources
        for function in one.tree.body
        if "/" not in one.name and isinstance(function, ast.FunctionDef) and trains(one, function)
    }

    def does(source: Source) -> bool:
        taken = source.nodes(ast.ImportFrom)
        names = {(str(one.module), alias.name) for one in taken for alias in one.names}
        return trains(source) or bool(names & direct)

    found = [one for one in sources if one.name in entries and does(one)]
    return sorted(found, key=lambda one: (one.name != "train.py", one.name))


def _is_trainer(node: Any) -> bool:
    return "train" in dotted(node.value).lower() or not dotted(node.value)


def takes_parser(cls: Any) -> bool:
    """Whether a ConfigParser is that of early 2019, which was made from an argparse parser."""
    init = methods(cls).get("__init__")
    return init is not None and [one.arg for one in init.args.args[1:2]] in (["args"], ["parser"])


def old_config_parsers(source: Source) -> None:
    """ConfigParser(parser, options) of early 2019, in scripts whose end is left as it is."""
    parsers = {name for one in ast.walk(source.tree) if (name := _parser_name(one))}
    for call in source.nodes(ast.Call):
        if dotted(call.func) == "ConfigParser" and call.args:
            if dotted(call.args[0]) in parsers:
                reason = "the command line is read by from_args since 2019"
                source.replace(call.func, "ConfigParser.from_args", reason)
            else:
                source.note(call, "today: ConfigParser.from_args(parser, options)")


def takes_dict(cls: Any) -> bool:
    """Whether from_args of a ConfigParser took a dict, and not a parser."""
    function = methods(cls).get("from_args")
    if function is None or "parse_args(" in ast.unparse(function):
        return False
    names = {one.arg for one in function.args.args[1:2]}
    return any(
        isinstance(one, ast.Subscript)
        and dotted(one.value) in names
        and isinstance(one.slice, ast.Constant)
        for one in ast.walk(function)
    )


def configs_of_dicts(source: Source) -> None:
    """ConfigParser.from_args(a_dict)."""
    for call in source.nodes(ast.Call):
        if dotted(call.func) == "ConfigParser.from_args" and call.args:
            given = source.segment(call.args[0])
            how = f"ConfigParser({given}, resume) takes a dict and a checkpoint"
            source.note(call, f"from_args reads a command line, by an argparse parser: {how}")


def last_line(source: Source) -> int:
    """Where the main block of a script is."""
    block = next(one for one in source.tree.body if is_main_block(one))
    return int(block.lineno)
