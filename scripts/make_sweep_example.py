"""Run the example of docs/sweep.md anew, in a project that is baked for it, and write its output.

python scripts/make_sweep_example.py         takes some minutes
"""

import os
import re
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "{{cookiecutter.project_name}}" / "docs" / "sweep.md"


def main():
    text = PAGE.read_text(encoding="utf-8")
    before, heading, example = text.partition("\n## Example\n")
    with TemporaryDirectory() as folder:
        project = bake(folder)
        for name, content in re.findall(r"```yaml\n# (\S+)\n(.*?)```", text, re.DOTALL):
            (project / name).write_text(content, encoding="utf-8")

        def run(match):
            return f"$ {match[1]}\n{output_of(project, match[1])}```"

        example = re.sub(r"^\$ (python sweep.*)\n(?:.*\n)*?```", run, example, flags=re.MULTILINE)
    PAGE.write_text(before + heading + example, encoding="utf-8")


def bake(folder):
    command = [sys.executable, "-m", "cookiecutter", ROOT, "--no-input", "--output-dir", folder]
    subprocess.run([*command, "starter=mnist", "size=full"], check=True, capture_output=True)
    [project] = Path(folder).iterdir()
    return project


def output_of(project, command):
    """The table that a command ends with, and the line below."""
    arguments = [sys.executable, *command.split()[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(arguments, cwd=project, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    [start] = [number for number, line in enumerate(lines) if line.startswith("trial ")]
    return "".join(f"{line}\n" for line in lines[start:-1])


if __name__ == "__main__":
    main()
