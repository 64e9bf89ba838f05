"""Runs in the new project: keeps the files that were chosen and says what to do next.

Cookiecutter fills in the answers below. Standard library only, no network.
"""

import shutil
from pathlib import Path

NAME = "{{ cookiecutter.project_name }}"
LICENSE = "{{ cookiecutter.license }}"
CONFIG = "config.{{ cookiecutter.config_format }}"
TENSORBOARD = "{{ cookiecutter.tensorboard }}"
GITHUB_ACTIONS = "{{ cookiecutter.github_actions }}"


def main():
    if LICENSE != "none":
        Path(f"LICENSE.{LICENSE}").replace("LICENSE")
    for path in Path().glob("LICENSE.*"):
        path.unlink()
    Path("config.yaml" if CONFIG == "config.json" else "config.json").unlink()
    if TENSORBOARD == "no":
        quote = '"' if CONFIG == "config.json" else ""
        edit(CONFIG, f"{quote}tensorboard{quote}: true", f"{quote}tensorboard{quote}: false")
        edit("requirements.txt", "tensorboard\n", "")
        edit("pyproject.toml", '    "tensorboard",\n', "")
    if GITHUB_ACTIONS == "no":
        shutil.rmtree(".github")
    print(f"""
Your project is in {NAME}. Next:
  cd {NAME}
  pip install -r requirements.txt
  python train.py -c {CONFIG}
  python test.py -r saved/Mnist_LeNet/<run_id>/model_best.pth""")


def edit(path, old, new):
    text = Path(path).read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    Path(path).write_bytes(text.replace(old, new).encode())


main()
