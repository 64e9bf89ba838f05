"""environment.json and data.json: records that say what they can, and never end a run."""

import numpy as np
import pytest
import torch
from torch.utils.data import TensorDataset

from tools.history import read_starts
from tools.manifest import fingerprint
from utils.files import read_json


@pytest.mark.parametrize("name", ["environment.json", "times.csv", "data.json"])
def test_records_that_cannot_be_written_are_warnings(make_trainer, caplog, name):
    trainer = make_trainer()
    (trainer.checkpoint_dir / name).mkdir()
    assert trainer.train()["epoch"] == 2
    lines = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert lines and all(line.count(f"{name} ") == 1 for line in lines), lines


def test_a_damaged_record_is_a_warning_and_stays_as_it_is(make_trainer, caplog):
    first = make_trainer({"trainer.epochs": 1})
    first.train()
    path = first.checkpoint_dir / "environment.json"
    path.write_text("[{")
    make_trainer(resume=first.checkpoint_dir / "last.pth").train()
    assert path.read_text() == "[{"
    assert caplog.text.count("environment.json is not written: JSONDecodeError") == 1


def test_each_call_of_train_is_a_start(make_trainer):
    trainer = make_trainer({"trainer.epochs": 1})
    trainer.train()
    trainer.epochs = 2
    trainer.train()
    starts = read_starts(trainer.checkpoint_dir)
    assert [start["how"] for start in starts] == ["finished"] * 2


def test_data_without_a_fingerprint_are_a_warning(make_trainer, caplog):
    trainer = make_trainer()
    trainer.data_loader.init_kwargs["dataset"] = None
    trainer.train()
    [line] = [one.message for one in caplog.records if one.levelname == "WARNING"]
    assert line.startswith("data: a change will not be noticed: TypeError: ")
    assert "content" not in read_json(trainer.checkpoint_dir / "data.json")


COLUMNS = torch.tensor(np.asfortranarray(np.arange(12.0).reshape(4, 3)))
COMPLEX = torch.view_as_complex(torch.arange(8.0).reshape(4, 2))
TENSORS = {
    "column-major": (COLUMNS, COLUMNS.contiguous()),
    "0-dim": (torch.arange(4), torch.arange(4)),
    "bfloat16": (COLUMNS.bfloat16(), COLUMNS.bfloat16().contiguous()),
    "bool": (COLUMNS > 2, (COLUMNS > 2).contiguous()),
    "conjugate": (COMPLEX.conj(), COMPLEX.conj().resolve_conj()),
    "trained": (COLUMNS.clone().requires_grad_(), COLUMNS.contiguous()),
    "empty": (torch.empty(4, 0), torch.empty(4, 0)),
    "sparse": (COLUMNS.to_sparse(), COLUMNS.contiguous()),
}


@pytest.mark.parametrize("values", TENSORS.values(), ids=TENSORS)
def test_tensors_of_any_kind_have_a_fingerprint_of_their_values(values):
    first, second = map(list, values)  # samples
    assert fingerprint(first) == fingerprint(second)
    assert not first[0].numel() or fingerprint(first) != fingerprint(first[::-1])


def test_arrays_of_objects_are_known_by_these():
    def samples(text):
        return [np.array([str(text), [1, 2]], dtype=object) for _ in range(3)]

    assert fingerprint(samples("a" * 9)) == fingerprint(samples("a" * 9))
    assert fingerprint(samples("a")) != fingerprint(samples("b"))
    assert fingerprint(TensorDataset(COLUMNS)) == fingerprint(TensorDataset(COLUMNS.contiguous()))
