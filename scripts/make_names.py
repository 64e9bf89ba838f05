"""Make data/names.csv of the starter "text": family names and the languages that they are from.

    pip download --no-deps faker
    python scripts/make_names.py faker-*.whl

The package Faker (Daniele Faraglia and contributors, MIT) carries lists of real family names. This
script takes those of seven languages that use Latin letters, leaves out names that stand in more
than one list, and holds out a fifth of each language for test.py.
"""

import csv
import importlib
import random
import sys
from collections import Counter
from pathlib import Path

STARTERS = Path(__file__).parent.parent / "{{cookiecutter.project_name}}" / "starters"
TARGET = STARTERS / "text" / "data" / "names.csv"
LOCALES = {
    "Croatian": ["hr_HR"],
    "Dutch": ["nl_NL"],
    "English": ["en_GB", "en_NZ", "en_US"],
    "German": ["de_AT", "de_DE"],
    "Italian": ["it_IT"],
    "Slovak": ["sk_SK"],
    "Spanish": ["es_ES"],
}
PER_LANGUAGE = 600
HELD_OUT = 120  # of them


def main(wheel):
    sys.path.insert(0, wheel)
    names = {
        language: {name.lower(): name for locale in locales for name in family_names(locale)}
        for language, locales in LOCALES.items()
    }
    languages_of = Counter(name for several in names.values() for name in several)
    rows = []
    for language, several in names.items():
        own = [name for low, name in sorted(several.items()) if languages_of[low] == 1]
        own = [name for name in own if name.isalpha()]
        chosen = random.Random(0).sample(own, PER_LANGUAGE)
        rows += [(name, language, "test") for name in sorted(chosen[:HELD_OUT])]
        rows += [(name, language, "train") for name in sorted(chosen[HELD_OUT:])]
    with TARGET.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("name", "language", "part"), *rows])
    print(f"{TARGET}: {len(rows):,} names, {TARGET.stat().st_size:,} bytes")


def family_names(locale):
    provider = importlib.import_module(f"faker.providers.person.{locale}").Provider
    lists = [getattr(provider, f"last_names{kind}", ()) for kind in ("", "_male", "_female")]
    return sorted(name for one in lists for name in one)


if __name__ == "__main__":
    main(sys.argv[1])
