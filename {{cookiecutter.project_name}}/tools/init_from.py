"""What `init_from` in the config does: a new run begins with the weights of a checkpoint."""

from pathlib import Path

from torch import nn

from base import Callback
from parse_config import ConfigParser
from tools.convert import complete
from utils.checkpoint import State
from utils.errors import UserError
from utils.files import find_file
from utils.resume import read, set_weights, weights_to_use

KEY = "init_from"


class InitFrom(Callback):
    """Loads the weights, unless the run goes on from a checkpoint of its own."""

    def on_model_built(self, model: nn.Module, config: ConfigParser) -> None:
        init = config.settings.init_from
        if init is not None and config.resume is None:
            path = find_file(init.checkpoint)
            line = init_weights(model, path, init.strict, init.prefixes)
            config.get_logger("train").info(line)


def init_weights(
    model: nn.Module, path: Path, strict: bool, prefixes: dict[str, str | None]
) -> str:
    """Load the weights alone; without `strict`, those that fit. Returns a line that says which.

    Raises UserError where a weight does not fit, or without `strict` none does.
    """
    weights = renamed(weights_to_use(complete(read(path), path)), prefixes, path)
    if strict:
        set_weights(model, weights, path)
        return f"{path}: all {len(weights)} weights taken"
    own = model.state_dict()
    fitting = {k: w for k, w in weights.items() if k in own and w.shape == own[k].shape}
    if not fitting:
        raise UserError(f"{path}: none of its {len(weights)} weights fits {type(model).__name__}")
    model.load_state_dict(fitting, strict=False)
    left = [key for key in [*own, *weights] if key not in fitting]
    others = ", ".join(dict.fromkeys(left)) or "none"
    return f"{path}: {len(fitting)} of {len(own)} weights taken; not taken: {others}"


def renamed(weights: State, prefixes: dict[str, str | None], path: Path) -> State:
    """The weights with other beginnings of their names; the longest prefix that fits counts.

    Raises UserError for a prefix that fits none, and for two weights of one name.
    """
    names = {name: name.replace("_orig_mod.", "") for name in weights}  # of compiled parts
    for one in prefixes:
        if not any(name.startswith(one) for name in names.values()):
            there = ", ".join(dict.fromkeys(f"{name.partition('.')[0]}." for name in names))
            raise UserError(f"init_from.prefixes: {path} has no {one!r}, but {there}")
    found: State = {}
    for name, clean in names.items():
        prefix = max((one for one in prefixes if clean.startswith(one)), key=len, default=None)
        new: str | None = clean if prefix is None else prefixes[prefix]
        if prefix is not None and new is not None:
            new += clean[len(prefix) :]
        if new in found:
            raise UserError(f"init_from.prefixes: two weights of {path} are called {new!r}")
        found |= {} if new is None else {new: weights[name]}
    return found
