"""Python in another process, as the new project's scripts are run."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any


def run(*command: Any, cwd: Path, **options: Any) -> subprocess.CompletedProcess:
    """Python, in another process. Without PYTHONPATH, which may lead to the old project."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
    full = [sys.executable, *map(str, command)]
    return subprocess.run(
        full, cwd=cwd, env=environment, capture_output=True, encoding="utf-8", **options
    )
