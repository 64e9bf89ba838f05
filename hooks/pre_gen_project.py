"""Runs in the folder of the project before any file is written: notes what is there.

There are some after `cookiecutter --overwrite-if-exists`; post_gen_project.py has to spare them.
The answers have been checked when this text was filled in, by the rules of local_extensions.py.
Standard library only, no network.
"""

import json
from pathlib import Path


def main():
    found = [path.as_posix() for path in Path().rglob("*")]  # folders, and links to some, too
    if found:
        Path(".files_before.json").write_text(json.dumps(found), encoding="utf-8")
        # The template has this file too; it stays empty only with --skip-if-file-exists
        Path(".is_written").write_text("", encoding="utf-8")


main()
