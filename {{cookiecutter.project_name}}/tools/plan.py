"""What a sweep trains: its trials, and the trainings of each, with their configs."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

from parse_config import ConfigParser
from tools.search import Search, Values
from train import part_modules
from utils.check import look_up
from utils.errors import UserError


@dataclass
class Training:
    """A run of the sweep."""

    run_id: str
    seed: int
    fold: int | None
    config: dict[str, Any]


@dataclass
class Plan:
    """A trial is a point of the search, trained with all seeds and folds; or one of these."""

    config: ConfigParser
    name: str
    seeds: int = 1
    folds: int | None = None
    search: Search | None = None

    @property
    def cases(self) -> list[tuple[int, int | None]]:
        """Each seed with each fold."""
        first = self.config["seed"]
        return list(product(range(first, first + self.seeds), range(self.folds or 0) or [None]))

    @property
    def n_trials(self) -> int | None:
        """How many trials there are; None where a sampler would go on for ever."""
        if self.search is None:
            return len(self.cases)
        return len(self.search.points()) if self.search.is_grid else None

    @property
    def setup(self) -> dict[str, Any]:
        """What must not change while the sweep goes on; more seeds may come."""
        in_trial = {"seeds": self.seeds} if self.search is not None else {}
        search = None if self.search is None else asdict(self.search)
        config = without_device(self.config.config)
        setup = {"config": config, "search": search, "folds": self.folds, **in_trial}
        return json.loads(json.dumps(setup))

    def trainings(self, number: int, values: Values) -> Iterator[Training]:
        """Those of a trial, with the values that it takes from the search."""
        for seed, fold in self.cases if self.search is not None else [self.cases[number]]:
            run_id = self.name
            run_id += f"_trial{number:03}" if self.search is not None else ""
            run_id += f"_seed{seed}" if self.search is None or self.seeds > 1 else ""
            run_id += f"_fold{fold}" if fold is not None else ""
            config = self.config_of(values, seed, fold).config
            yield Training(run_id, seed, fold, config)

    def config_of(
        self, values: Values, seed: int | None = None, fold: int | None = None
    ) -> ConfigParser:
        """The config with values of the search, and those of a training."""
        changes = dict(values)
        if seed is not None:
            changes["seed"] = seed
        if fold is not None:
            loader = self.config.settings.data_loader
            changes["data_loader.type"] = f"tools.folds.{loader.type}"
            changes |= {"data_loader.args.fold": fold, "data_loader.args.folds": self.folds}
            if not loader.args.get("validation_split", True):
                changes["data_loader.args.validation_split"] = 1 / (self.folds or 1)
        return ConfigParser(self.config.config, modification=changes, source=self.config.source)

    def check(self, values: Values) -> ConfigParser:
        """The config of a point of the search. Raises UserError where a part does not take it."""
        config = self.config_of(values)
        config.check_parts(part_modules(), before_data=True)
        return config

    def check_folds(self) -> None:
        """Build the data once. Raises UserError where they do not make that many folds."""
        if self.folds is None:
            return
        from base import BaseDataLoader

        name, modules = self.config.settings.data_loader.type, part_modules()
        if name.startswith("tools.splits."):
            raise UserError(f"--folds: {name}: folds take the place of a split: name the loader")
        if "." in name:
            raise UserError(f"--folds: {name}: import it in data_loader/data_loaders.py")
        if not issubclass(look_up(name, modules["data_loader"]), BaseDataLoader):
            raise UserError(f"--folds: {name} is not built on BaseDataLoader")
        loader = self.config_of({}, fold=0).init_obj("data_loader", modules["data_loader"])
        if loader.split_validation() is None:
            raise UserError(f"--folds: {name} gives BaseDataLoader a validation_split of 0")


def without_device(config: dict[str, Any]) -> dict[str, Any]:
    """A config without what may differ between machines."""
    return {key: value for key, value in config.items() if key not in ("device", "n_gpu")}
