"""Move a project in the layout of victoresque's template into a new project.

python migrate.py OLD_PROJECT NEW_PROJECT

Reads the old project and never runs or changes it. The new one is complete or not there at all;
what was done and what is left to do stands in its MIGRATED.md.
"""

import argparse
import sys
from pathlib import Path

from migrating.errors import UserError
from migrating.project import check, migrate
from migrating.tree import read


def main(argv: list[str] | None = None) -> int:
    """Read the command line, move the project; the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", metavar="OLD_PROJECT", type=Path)
    parser.add_argument("new", metavar="NEW_PROJECT", type=Path, help="must not be there yet")
    args = parser.parse_args(argv)
    try:
        report = migrate(read(args.old.resolve()), args.new.absolute())
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    print(report.done())
    output, is_well = check(args.new, report)
    print(f"## Check\n\n{output}\n\n{report.left_to_do()}")
    print(f"All of this is in {args.new / 'MIGRATED.md'} too.")
    return 0 if is_well else 1


if __name__ == "__main__":
    sys.exit(main())
