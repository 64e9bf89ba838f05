"""Editors must mark what a run would refuse, and nothing else."""

from dataclasses import dataclass, field
from functools import partial
from inspect import isclass

import pytest

import digits_example
from base import BaseModel
from model import model
from parse_config import ConfigParser
from settings import Part
from test_config import BAD_VALUES, DELETE, changed
from tools.arguments import check_arguments
from tools.schema import block_schema, find_types, make_schema
from train import part_modules
from utils import UserError
from utils.check import read_value

jsonschema = pytest.importorskip("jsonschema")
pytestmark = pytest.mark.usefixtures("example_parts")


@pytest.fixture(scope="module")
def schema():
    with pytest.MonkeyPatch.context() as patch:
        digits_example.install(partial(patch.setattr, raising=False))
        return make_schema()


@pytest.fixture(scope="module")
def is_valid(schema):
    jsonschema.Draft7Validator.check_schema(schema)
    return jsonschema.Draft7Validator(schema).is_valid


def is_accepted(config):
    try:
        ConfigParser(config).check_parts(part_modules(), before_data=True)
    except UserError:
        return False
    return True


# A dotted path can be anything to an editor
BAD = [changes for changes, _ in BAD_VALUES if "." not in str(changes.get("arch.type"))] + [
    {"trainer": {"monitor": "lowest loss"}},
    {"trainer.epochs": None},
    {"optimizer": None},
    {"optimizer": {}},
    {"optimizer": {"typ": "SGD"}},
    {"optimizer": {"args": {"type": "SGD"}}},
    {"optimizer": {"fc1": {"type": "SGD"}, "fc2": {"type": "SGDD"}}},
    {"optimizer": {"fc1": {"type": "SGD"}, "fc2": "SGD"}},
    {"optimizer": {"fc1": {"type": "SGD", "args": {"lrr": 0.1}}}},
    {"loss": {"type": "nll_loss", "args": {"target": 1}}},
    {"lr_scheduler": {"type": "StepLR", "args": {}}},
    {"lr_scheduler": {"type": "StepLR"}},
    {"lr_scheduler.args.T_max": "long"},
    {"lr_scheduler.args.eta_min": "auto"},
    {"lr_scheduler": {"type": "LinearLR", "args": {"start_factor": "10%"}}},
    {"lr_scheduler": {"type": "OneCycleLR", "args": {"max_lr": 0.1, "epochs": "auto"}}},
    {"arch.args.num_classes": "auto"},
    {"data_loader.args.batch_size": "${data.n_samples}"},
    {"metrics": [{"type": "top_k_acc", "args": {"k": "3"}}]},
    {"metrics": [{"type": "top_k_acc", "args": {"output": 3}}]},
]
GOOD = [
    {},
    {"$schema": "./config.schema.json"},
    {"arch": "DigitsModel"},
    {"arch.args": {"dropout": 0, "num_classes": 7}},
    {"arch": {"type": "torch.nn.Linear", "args": {"in_features": 1, "out_features": 1}}},
    {"arch": "torch.nn.Flatten"},
    {
        "optimizer": {
            "fc1": {"type": "SGD"},
            "conv1": {"type": "Adam", "args": {"betas": [0, 0.9]}},
        },
        "lr_scheduler": None,
    },
    {"loss": {"type": "CrossEntropyLoss", "args": {"label_smoothing": 0.1}}},
    {"loss": {"type": "cross_entropy", "args": {"label_smoothing": 1}}},
    {"loss": {"digit": {"type": "nll_loss"}}},
    {"arch.args.num_classes": "${data.num_classes}"},
    {"loss": {"type": "CrossEntropyLoss", "args": {"weight": "${data.class_weights}"}}},
    {"lr_scheduler.args.T_max": "auto"},
    {"lr_scheduler": {"type": "LinearLR", "args": {"total_iters": "5%"}}},
    {"metrics": []},
    {"metrics": DELETE},
    {"metrics": [{"type": "top_k_acc", "args": {"k": 5}, "name": "top5"}]},
    {"lr_scheduler": None},
    {"lr_scheduler": "LinearLR"},
    {"lr_scheduler": {"type": "StepLR", "args": {"step_size": 3}, "interval": "step"}},
    {"trainer.early_stop": None, "trainer.monitor": "off"},
    {"data_loader.args.validation_split": 500},
]


@pytest.mark.parametrize("changes", GOOD, ids=str)
def test_a_good_config_is_valid(is_valid, changes):
    assert is_valid(changed(changes)) and is_accepted(changed(changes))


@pytest.mark.parametrize("changes", BAD, ids=str)
def test_a_bad_config_is_not(is_valid, changes):
    assert not is_valid(changed(changes)) and not is_accepted(changed(changes))


@pytest.mark.parametrize("key", part_modules())
def test_arguments_are_judged_as_by_a_run(schema, key):
    """Each argument of each class and function with values of each type, and without any."""
    values = [None, True, 0, -1, 0.5, "a", [1], {}]
    seen = set()
    branches = {
        branch["if"]["properties"]["type"]["const"]: branch["then"]["properties"]["args"]
        for branch in schema["definitions"][key]["allOf"]
    }
    for name, found in find_types(key, part_modules()[key]).items():
        given = 1 if key in ("optimizer", "lr_scheduler") else 0
        if key in ("loss", "metrics") and not isclass(found):
            given = 2
        is_valid = jsonschema.Draft7Validator(branches[name]).is_valid
        needed = dict.fromkeys(branches[name].get("required", ()), [1])
        names = ["no_such_argument", *branches[name]["properties"]]
        for args in [{}, *(needed | {one: value} for one in names for value in values)]:
            accepted = not check_arguments(found, args, (), given)
            assert is_valid(args) == accepted, (name, args)
            seen.add(accepted)
    assert seen == {True, False}


def test_names_are_those_that_a_config_can_mean(schema):
    names = {key: set(find_types(key, places)) for key, places in part_modules().items()}
    assert not [name for name in set().union(*names.values()) if name.startswith("_")]
    assert {"Adam", "SGD"} < names["optimizer"] and "Optimizer" not in names["optimizer"]
    assert {"StepLR", "ReduceLROnPlateau"} < names["lr_scheduler"]
    assert not {"LRScheduler", "Counter", "partial"} & names["lr_scheduler"]
    assert {"cross_entropy", "CrossEntropyLoss"} < names["loss"]
    assert not {"relu", "Linear", "one_hot"} & names["loss"]
    assert not {"BaseModel", "BaseDataLoader", "Literal"} & (names["arch"] | names["data_loader"])


def test_a_class_of_the_user_is_in_it(monkeypatch):
    class Mine(BaseModel):
        def __init__(self, width, depth: int = 3, **more):
            super().__init__()

        def forward(self, x):
            return x

    Mine.__module__ = model.__name__
    monkeypatch.setattr(model, "Mine", Mine, raising=False)
    is_valid = jsonschema.Draft7Validator(make_schema()).is_valid
    for args, expected in [
        ({"width": 1}, True),
        ({"width": 1, "depth": 2, "else": "any"}, True),
        ({"width": 1, "depth": "2"}, False),
        ({"depth": 2}, False),
    ]:
        config = changed({"arch": {"type": "Mine", "args": args}})
        assert is_valid(config) == is_accepted(config) == expected


@dataclass
class Block:
    teacher: Part  # another model
    sizes: list[int] = field(default_factory=list)
    shares: dict[str, float] | None = None


@pytest.mark.parametrize(
    "value",
    [
        {},
        {"teacher": "DigitsModel"},
        {"teacher": {"args": {}}},
        {"teacher": {"type": "DigitsModel"}, "sizes": [1, 2], "shares": {"a": 0.5}},
        {"teacher": "DigitsModel", "sizes": ["1"]},
        {"teacher": "DigitsModel", "sizes": 1},
        {"teacher": "DigitsModel", "shares": None},
        {"teacher": "DigitsModel", "shares": []},
        {"teacher": "DigitsModel", "share": {}},
    ],
    ids=str,
)
def test_a_block_of_the_user_is_judged_as_by_a_run(value):
    mistakes = []
    read_value(Block, value, (), mistakes)
    schema = block_schema(Block)
    assert jsonschema.Draft7Validator(schema).is_valid(value) == (not mistakes)
    assert schema["properties"]["teacher"]["description"] == "Another model"
