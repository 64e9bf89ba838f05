"""Make docs/report.png: the report of a run with the defaults, as a browser shows it.

    python scripts/make_report_picture.py

It takes Chromium, and what the tests take.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "docs" / "report.png"
END = "[...document.querySelectorAll('h2')].find(one => one.innerText == 'Reproduce')"


def main():
    sys.path.insert(0, str(ROOT / "tests"))
    from browser import Browser
    from helpers import PROJECT, succeed

    with TemporaryDirectory() as folder:
        succeed("train.py", f"trainer.save_dir={folder}", cwd=PROJECT)
        [report] = Path(folder).glob("*/*/report.html")
        with Browser(width=1200) as page:
            page.open(report.as_uri())
            height = page.evaluate(f"{END}.getBoundingClientRect().top")
            picture = page.screenshot()
    picture = picture.crop((0, 0, picture.width, int(height))).quantize(128)
    TARGET.parent.mkdir(exist_ok=True)
    picture.save(TARGET, optimize=True)
    print(f"{TARGET}: {TARGET.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
