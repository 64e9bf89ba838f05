"""The files in tools/. A user may delete any of them, so the core asks for each by its name."""

from importlib import import_module
from importlib.util import find_spec

from utils.errors import UserError


def find_tool(name):
    """The module tools/<name>.py; None where it was deleted."""
    return import_module(f"tools.{name}") if find_spec(f"tools.{name}") else None


def need_tool(name, what):
    """The same for `what`, which cannot do without."""
    if (module := find_tool(name)) is None:
        raise UserError(f"{what} takes tools/{name}.py, which was deleted")
    return module
