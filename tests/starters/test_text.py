"""The names, the network and the metric that the project begins with."""

import pytest
import torch
from data_loader.names import LANGUAGES, N_CHARACTERS, UNKNOWN, encode

from data_loader.data_loaders import NamesDataLoader, pad_batch
from model.metric import accuracy
from model.model import NamesModel
from parse_config import ConfigParser, default_config
from utils import UserError


def names_in(loader):
    """The sequences of a loader, without their padding."""
    return {tuple(row[row > 0].tolist()) for batch, _ in loader for row in batch}


def test_train_validation_and_test_names_never_overlap():
    loader = NamesDataLoader(validation_split=300)
    test = NamesDataLoader(training=False, validation_split=0)
    train, valid, test = map(names_in, (loader, loader.split_validation(), test))
    assert (len(train), len(valid), len(test)) == (3060, 300, 840)
    assert not (train & valid | train & test | valid & test)


def test_every_language_has_as_many_names():
    test = NamesDataLoader(training=False, validation_split=0)
    languages = torch.cat([languages for _, languages in test])
    assert languages.bincount().tolist() == [120] * len(LANGUAGES)


def test_letters_have_numbers_and_capitals_make_no_difference():
    assert encode("Abba").tolist() == encode("aBBA").tolist() == [2, 3, 4, 4, 3, 2]
    assert encode("Ж").tolist() == [2, UNKNOWN, 2]


def test_a_batch_is_padded_to_its_longest_name():
    batch, languages = pad_batch([(encode("Li"), 1), (encode("Klee"), 3)])
    assert batch.shape == (2, 6) and languages.tolist() == [1, 3]
    assert batch[0].tolist() == [*encode("Li").tolist(), 0, 0]


def test_a_name_gives_the_same_in_any_batch():
    torch.manual_seed(0)
    model = NamesModel(N_CHARACTERS).eval()
    names = [encode(name) for name in ("Ng", "Novak", "Featherstonehaugh")]
    together = model(pad_batch([(name, 0) for name in names])[0])
    alone = torch.cat([model(name[None]) for name in names])
    assert together.shape == (3, 7)
    assert torch.allclose(together, alone, atol=1e-6)


def test_the_config_has_the_numbers_of_the_data():
    arguments = ConfigParser.from_file(default_config())["arch"]["args"]
    assert arguments == {"n_characters": N_CHARACTERS, "num_classes": len(LANGUAGES)}


def test_accuracy_by_hand():
    output = torch.tensor([[2.0, 1], [0, 1], [3, 0]])
    assert accuracy(output, torch.tensor([0, 1, 1])) == pytest.approx(2 / 3)


def test_a_missing_table_is_named():
    with pytest.raises(UserError, match="data_loader.args.path: .*none.csv: No such file"):
        NamesDataLoader("data/none.csv")
