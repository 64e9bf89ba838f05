"""Objects that a config describes, where one call of `config.init_obj` is not enough."""

from typing import Any

from utils.errors import UserError
from utils.optim import parameter_groups


def build_test_loader(config: Any, modules: Any) -> Any:
    """The held-out data, from the loader of the config.

    Raises UserError where the loader does not take the three arguments that say so.
    """
    changes = {"shuffle": False, "validation_split": 0, "training": False}
    try:
        return config.init_obj("data_loader", modules, **changes)
    except TypeError as error:
        needed = ", ".join(changes)
        raise UserError(f"data_loader: test.py calls it with {needed}: {error}") from error


def build_optimizers(config: Any, modules: Any, model: Any) -> Any:
    """The optimizer of the config, of all that is trained; or those of parts of the model by name.

    Raises UserError where the model has no such part.
    """

    def build(key: Any, name: str) -> Any:
        try:
            part = model.get_submodule(name)
        except AttributeError:
            parts = ", ".join(child for child, _ in model.named_children())
            raise UserError(f"optimizer.{name}: the model has no such part, but {parts}") from None
        return config.init_obj(key, modules, parameter_groups(part, config.part(key).groups))

    return config.init_each("optimizer", build)


def build_schedulers(config: Any, modules: Any, optimizers: Any) -> Any:
    """The schedule of the config, or those by name, as the optimizers; None without."""

    def build(key: Any, name: str) -> Any:
        part = config.part(key)
        inner = part.args.get("schedulers", []) if part is not None else []  # as in SequentialLR
        keys = [(*key, "args", "schedulers", index) for index in range(len(inner))]
        given = {"schedulers": [build(one, name) for one in keys]} if keys else {}
        optimizer = optimizers[name] if name else optimizers
        is_chain = part is not None and part.type.rpartition(".")[2] == "ChainedScheduler"
        positional = () if is_chain else (optimizer,)  # which the inner ones have
        return config.init_obj(key, modules, *positional, **given)

    return config.init_each("lr_scheduler", build)
