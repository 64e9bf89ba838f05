"""What a run writes for a browser is opened in one: no errors in its console, curves to be seen."""

import subprocess
import sys
import time
from urllib.request import urlopen

import pytest

import browser
from browser import Browser
from helpers import ENVIRONMENT, succeed

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.find() is None, reason="no browser: apt-get install chromium"),
]
BLUE, RED, ORANGE = (31, 119, 180), (214, 39, 40), (255, 127, 14)
# The lines of the first chart of TensorBoard
LINES = "[...document.querySelectorAll('line-chart svg path')].filter("
LINES += "path => getComputedStyle(path).stroke.startsWith('rgb'))"
# All text of a page, that in shadow roots too
TEXT = """(function text(node) {
    return (node.data || "") + (node.shadowRoot ? text(node.shadowRoot) : "")
        + [...node.childNodes].map(text).join("");
})(document.body)"""


@pytest.fixture(scope="module")
def project(bake):
    """With two runs that differ in the learning rate."""
    project = bake(size="full")
    for rate in (0.002, 0.01):
        succeed("train.py", "trainer.epochs=4", f"optimizer.args.lr={rate}", cwd=project)
    return project


def box_of(page, expression):
    """Where an element of a page is: left, top, width and height."""
    script = f"(() => {{ const box = {expression}.getBoundingClientRect();"
    script += "return [box.x, box.y, box.width, box.height]; })()"
    return [round(number) for number in page.evaluate(script)]


def share_of_columns(picture, box, color):
    """The share of a box's columns of pixels in which there is a color, nearly."""
    left, top, width, height = box
    part = picture.crop((left, top, left + width, top + height))
    pixels = part.load()
    seen = sum(
        any(near(pixels[x, y], color) for y in range(part.height)) for x in range(part.width)
    )
    return seen / part.width


def near(pixel, color):
    return all(abs(a - b) < 30 for a, b in zip(pixel, color, strict=True))


def assert_curves(page, picture, words, *colors):
    box = box_of(page, f"""document.querySelector('img[alt="{words}"]')""")
    for color in colors:
        assert share_of_columns(picture, box, color) > 0.5, color


def test_the_report_of_a_run(project):
    runs = sorted(project.glob("saved/*/*"))
    with Browser() as page:
        page.open((runs[0] / "report.html").as_uri())
        picture = page.screenshot()
        assert_curves(page, picture, "curves of training and validation", BLUE, RED)
        text = page.evaluate("document.body.innerText")
        links = page.evaluate("performance.getEntriesByType('resource').map(one => one.name)")
    assert page.errors == []
    assert all(link.startswith("data:") for link in links)
    for words in ("best val_loss", "model_best.pth of epoch", "python train.py -c", "git_commit"):
        assert words in text


def test_the_comparison_of_runs(project):
    succeed("report.py", "saved", cwd=project)
    with Browser() as page:
        page.open((project / "saved" / "runs.html").as_uri())
        assert_curves(page, page.screenshot(), "the curves of all runs", BLUE, ORANGE)
        heads = page.evaluate("[...document.querySelectorAll('th')].map(one => one.innerText)")
    assert page.errors == []
    assert heads == [
        "run",
        "status",
        "epochs",
        "monitor",
        "best",
        "at",
        "optimizer.args.lr",
        "time",
    ]


@pytest.fixture(scope="module")
def tensorboard(project, tmp_path_factory):
    """The address of a TensorBoard of all runs."""
    log = tmp_path_factory.mktemp("tensorboard") / "log"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", project / "saved"]
    command += ["--host", "127.0.0.1", "--port", "0"]
    with log.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=file, env=ENVIRONMENT)
    deadline = time.monotonic() + 120
    while " at http" not in log.read_text():
        assert server.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    address = log.read_text().partition(" at ")[2].split()[0]
    while True:  # it reads the event files in the background
        if b"loss/valid" in urlopen(f"{address}data/plugin/timeseries/tags").read():
            break
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield address
    server.kill()
    server.wait()


def test_tensorboard(tensorboard):
    with Browser(1400, 1000) as page:
        # Without a GPU, lines are drawn as SVG
        address = f"{tensorboard}?darkMode=false&forceSVG=true#timeseries"
        page.open(address, ready=f"{LINES}.length >= 2")
        stroke = page.evaluate(f"getComputedStyle({LINES}[0]).stroke")
        color = [int(number) for number in stroke[4:-1].split(",")]
        box = box_of(page, f"{LINES}[0].ownerSVGElement")
        deadline = time.monotonic() + 30  # it fades in
        while share_of_columns(page.screenshot(whole=False), box, color) < 0.5:
            assert time.monotonic() < deadline
        for words in ("optimizer.args.lr", "loss/valid"):
            page.open(f"{tensorboard}#hparams", ready=f"{TEXT}.includes('{words}')")
        page.open(f"{tensorboard}#images", ready=f"{TEXT}.includes('wrong predictions')")
    assert page.errors == []
