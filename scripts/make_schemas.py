"""Make the config.schema.json of every starter, after a change of settings.py or of their parts.

python scripts/make_schemas.py
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from cookiecutter.main import cookiecutter

ROOT = Path(__file__).parent.parent
PROJECT = ROOT / "{{cookiecutter.project_name}}"


def main():
    write_schema(PROJECT, PROJECT / "config.schema.json")
    for starter in json.loads((ROOT / "cookiecutter.json").read_text())["starter"][1:]:
        with TemporaryDirectory() as folder:
            project = bake(starter, Path(folder))
            write_schema(project, PROJECT / "starters" / starter / "config.schema.json")


def bake(starter, folder):
    """A project with a starter, without a look at the user's own settings."""
    settings = {"cookiecutters_dir": str(folder / "cache"), "replay_dir": str(folder / "replay")}
    (folder / "settings.yaml").write_text(json.dumps(settings))
    answers = {"starter": starter, "project_name": "project"}
    options = {"config_file": str(folder / "settings.yaml"), "output_dir": str(folder)}
    leftovers = shutil.ignore_patterns(".git", ".venv", "build", "saved", "__pycache__", ".*_cache")
    template = shutil.copytree(ROOT, folder / "template", ignore=leftovers)
    return cookiecutter(str(template), no_input=True, extra_context=answers, **options)


def write_schema(project, target):
    command = [sys.executable, "train.py", "--schema"]
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, cwd=project, env=environment, check=True, capture_output=True)
    target.write_bytes(done.stdout)
    print(target.relative_to(ROOT))


if __name__ == "__main__":
    main()
