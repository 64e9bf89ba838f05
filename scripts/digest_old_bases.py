"""Write migrating/known_bases.json: digests of every version of the old base.

python scripts/digest_old_bases.py PATH_TO_A_CLONE_OF_THE_ORIGINAL_TEMPLATE

The clone is read with git, every commit of its main branch. The look-alikes in tests/old_projects
count as known too: they stand for the original in tests.
"""

import argparse
import ast
import json
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from migrating.known import FUNCTIONS, PATH, fingerprint

LOOK_ALIKES = Path(__file__).resolve().parent.parent / "tests/old_projects/bases"
FILES = """parse_config.py base/*.py logger/*.py utils/*.py logger.py""".split()


def git(clone: Path, *arguments: str) -> str:
    command = ["git", "-C", str(clone), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def texts(clone: Path) -> set[str]:
    """The content of every version of the files of the base."""
    found = set()
    for commit in git(clone, "log", "--format=%H", "HEAD").split():
        for line in git(clone, "ls-tree", "-r", commit).splitlines():
            blob, name = line.split()[2], line.split("\t")[1]
            if any(Path(name).match(one) for one in FILES) and name.count("/") < 2:
                found.add(blob)
    return {git(clone, "cat-file", "blob", blob) for blob in found} | {
        path.read_text(encoding="utf-8") for path in LOOK_ALIKES.rglob("*.py")
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clone", type=Path)
    versions: dict[str, list[list[str]]] = {}
    for text in sorted(texts(parser.parse_args().clone)):
        try:
            tree = ast.parse(text)
        except SyntaxError:  # a commit in the middle of something
            continue
        for node in tree.body:
            inner = node.body if isinstance(node, ast.ClassDef) else [node]
            prefix = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
            for function in inner:
                if isinstance(function, FUNCTIONS):
                    known = versions.setdefault(prefix + function.name, [])
                    own = fingerprint(function)
                    if own not in known:
                        known.append(own)
    lines = [f'"{name}": {json.dumps(sorted(known))}' for name, known in sorted(versions.items())]
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{PATH}: {sum(map(len, versions.values()))} versions of {len(versions)} functions")


if __name__ == "__main__":
    main()
