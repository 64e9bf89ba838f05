"""Runs in the new project: writes old checkpoints anew and compares the two of each.

Standard input has the pairs of paths, old and new, and where to find `migrating`; a line of JSON
for each comes out.
"""

import json
import random
import runpy
import sys
import tempfile
from collections.abc import Set
from functools import partial
from pathlib import Path
from typing import Any

import torch

State = dict[str, Any]
MARK = "checkpoint: "


def main() -> None:
    job = json.load(sys.stdin)
    sys.path.append(job["template"])
    for old, new in job["pairs"]:
        from utils.errors import UserError

        try:
            said = convert(old, new, {*job["read"]}, job["script"])
        except UserError as error:
            said = {"old": old, "refused": str(error)}
        print(MARK + json.dumps(said), flush=True)  # the user's own code may print too


def convert(
    old: str, new: str, read: Set[str] = frozenset(), script: str = "train.py"
) -> dict[str, Any]:
    """Write one anew; what was found. Raises UserError where it is no checkpoint or changes."""
    from migrating.config import convert as convert_config
    from tools.compare import first_difference
    from tools.convert import complete, read_inert
    from utils import checkpoint
    from utils.errors import UserError

    path = Path(old)
    before = complete(read_inert(path), path)  # no code in the file is run
    state = dict(before)
    if isinstance(state.get("config"), dict):
        state["config"], _ = convert_config(state["config"], read)
    checkpoint.save(state, Path(new))
    after = torch.load(new, map_location="cpu", weights_only=True)
    for part in ("state_dict", "optimizer", "epoch", "monitor_best"):
        wanted = checkpoint.to_plain(before.get(part), part)  # NumPy's numbers are Python's
        if difference := first_difference(wanted, after.get(part), part):
            Path(new).unlink()
            raise UserError(f"{old}: not the same after conversion: {difference}")
    return {
        "old": old,
        "weights": len(after["state_dict"]),
        "outputs": outputs(before, after, script),
    }


class Seen(Exception):
    """Carries the first input of the model out of the epoch."""


def outputs(before: State, after: State, script: str) -> str:
    """Whether the model gives the same with both; a sentence."""
    from tools.compare import first_difference

    try:
        model, (args, kwargs) = model_and_input(after["config"], script)
        ends = []
        for state in (before, after):
            load(model, state["state_dict"])
            random.seed(0)
            torch.manual_seed(0)
            with torch.no_grad():
                ends.append(model.eval()(*args, **kwargs))
    except (Exception, SystemExit) as error:  # the user's code, or data that are not here
        return f"not compared: {type(error).__name__}: {error}"
    difference = first_difference(ends[0], ends[1], "output")
    return f"differ: {difference}" if difference else "equal on the first training batch"


def load(model: torch.nn.Module, weights: State) -> None:
    from tools.convert import without_prefixes

    model.load_state_dict(without_prefixes(weights))


def model_and_input(config: State, script: str) -> tuple[torch.nn.Module, Any]:
    """The model that the script which trains makes with a config, and what it is first given."""
    from tools.old_script import first_trainer

    with tempfile.TemporaryDirectory() as folder:
        config = config | {"trainer": config["trainer"] | {"save_dir": folder, "verbosity": 0}}
        path = Path(folder, "config.json")
        path.write_text(json.dumps(config), encoding="utf-8")
        sys.argv = [script, "-c", str(path)]
        trainer = first_trainer(partial(runpy.run_path, script, run_name="__main__"))

        def stop(module: Any, args: Any, kwargs: Any) -> None:
            raise Seen(args, kwargs)

        trainer.model.register_forward_pre_hook(stop, with_kwargs=True)
        hooks = trainer.model._forward_pre_hooks
        try:
            trainer._train_epoch(1)
        except Seen as seen:
            hooks.clear()
            return trainer.model, seen.args
        finally:
            trainer.writer.close()
    raise RuntimeError("the epoch did not call the model")


if __name__ == "__main__":
    main()
