"""Run the fast tests of the project with other versions of Python and torch.

python scripts/try_versions.py                        the oldest and the newest that are allowed
python scripts/try_versions.py 3.11:2.6.0 3.12:2.11   these: Python and torch

Each pair gets an environment in build/versions/, which takes gigabytes where torch comes with CUDA;
UV_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu has it without. A Python that is missing is
fetched by uv.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ROOT / "{{cookiecutter.project_name}}"
OLDEST, NEWEST = "3.10:2.6.0", "3.13:"  # no version of torch: the newest there is
TESTS = [ROOT / "tests" / "project", "-m", "not slow", "-n", "auto", "-q", "-p", "no:cacheprovider"]


def main():
    failed = [pair for pair in sys.argv[1:] or [OLDEST, NEWEST] if not passes(*pair.split(":"))]
    if failed:
        sys.exit(f"failed with Python:torch {', '.join(failed)}")


def passes(python_version, torch_version):
    """Whether the tests pass with these versions. Prints what uv and pytest print."""
    folder = ROOT / "build" / "versions" / f"python{python_version}-torch{torch_version}"
    interpreter = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    uv = [sys.executable, "-m", "uv"]
    torch = f"torch=={torch_version}" if torch_version else "torch"
    packages = [torch, "-r", PROJECT / "requirements.txt", "jsonschema", "pytest", "pytest-xdist"]
    run(*uv, "venv", "--quiet", "--allow-existing", "--python", python_version, folder)
    install = ["install", "--quiet", "--compile-bytecode"]  # else each test compiles torch anew
    run(*uv, "pip", *install, "--python", interpreter, *packages)
    versions = "import sys, torch; print(sys.version, torch.__version__)"
    run(interpreter, "-c", versions)
    return run(interpreter, "-m", "pytest", *TESTS, check=False).returncode == 0


def run(*command, check=True):
    return subprocess.run(list(map(str, command)), cwd=ROOT, check=check)


if __name__ == "__main__":
    main()
