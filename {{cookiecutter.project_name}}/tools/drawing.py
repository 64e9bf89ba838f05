"""Pictures and HTML pages that need no other file."""

from base64 import b64encode
from html import escape
from io import BytesIO
from math import ceil, sqrt
from string import Template
from typing import TYPE_CHECKING, Any

from utils.errors import UserError

if TYPE_CHECKING:  # runs.py does not wait for torch
    import torch

TILE = 64  # pixels: about the width of an image in a contact sheet
TRAINING, VALIDATION = "#1f77b4", "#d62728"
PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>$title</title>
<style>
  body { font: 15px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; }
  h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
  img { max-width: 100%; } pre { background: #f4f4f4; padding: 0.8em; overflow-x: auto; }
  table { border-collapse: collapse; display: block; overflow-x: auto; }
  th, td { text-align: left; padding: 0.2em 1.2em 0.2em 0; border-bottom: 1px solid #ddd; }
  td { font-variant-numeric: tabular-nums; vertical-align: top; }
  .note { color: #666; } .run { white-space: nowrap; margin-right: 2em; }
</style>
<h1>$title</h1>
$body
</html>
""")


def new_figure(
    panels: int, width: float = 4.2, height: float = 3.0, columns: int = 3
) -> tuple[Any, list[Any]]:
    """A figure of matplotlib, and its axes, that many, in rows; inches are those of one of them.

    Raises UserError where matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # without pyplot: no windows, no global state
    except ImportError:
        raise UserError("matplotlib is not installed (pip install matplotlib)") from None
    columns = min(columns, panels)
    rows = ceil(panels / columns)
    figure = Figure((width * columns, height * rows))
    # Room for words, in inches; matplotlib's layouts, which measure them, take half a second
    room = {"left": 0.6 / (width * columns), "right": 1 - 0.15 / (width * columns)}
    room |= {"bottom": 0.55 / (height * rows), "top": 1 - 0.4 / (height * rows)}
    figure.subplots_adjust(**room, wspace=0.7 / width, hspace=1.2 / height)
    grid = figure.subplots(rows, columns, squeeze=False).flatten().tolist()
    for axes in grid[panels:]:
        axes.remove()
    for axes in grid[:panels]:
        axes.ticklabel_format(axis="y", scilimits=(-2, 4))  # wider numbers have no room
        axes.xaxis.get_major_locator().set_params(integer=True)
    return figure, grid[:panels]


def colors_for(number: int) -> list[str]:
    """That many colors that can be told apart, as HTML writes them."""
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    if number <= 10:
        return [to_hex(f"C{n}") for n in range(number)]
    return [to_hex(colormaps["turbo"](n / (number - 1))) for n in range(number)]


def png_of(picture: Any) -> bytes:
    """The bytes of a PNG of a matplotlib figure or a PIL image."""
    file = BytesIO()
    if hasattr(picture, "savefig"):
        picture.savefig(file, format="png", dpi=100)
    else:
        picture.save(file, format="png", optimize=True)
    return file.getvalue()


def caption(given: Any, true: Any, chance: float) -> str:
    """What stands above an image: the classes, and the probability of the true one."""
    return f"predicted {given}, true {true},\nprobability {100 * chance:.1f} %"


def contact_sheet(images: "torch.Tensor", captions: Any = ()) -> Any:
    """(N, C, H, W) images side by side with captions of two lines, as an image of PIL."""
    from PIL import Image, ImageDraw

    height, width = images.shape[2:]
    measure = ImageDraw.Draw(Image.new("1", (1, 1))).multiline_textbbox
    room = max([measure((0, 0), one)[2] for one in captions], default=0)
    scale = max(TILE, room + 4) / width
    size = (round(width * scale), round(height * scale))
    line = 28 if captions else 0
    columns = ceil(sqrt(len(images)))
    tile = (size[0] + 4, size[1] + 4 + line)
    sheet = Image.new("RGB", (columns * tile[0], ceil(len(images) / columns) * tile[1]), "white")
    draw = ImageDraw.Draw(sheet)
    for number, image in enumerate(images):
        x, y = number % columns * tile[0], number // columns * tile[1]
        how = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
        sheet.paste(Image.fromarray(to_bytes(image)).resize(size, how), (x + 2, y + 2 + line))
        if captions:
            draw.text((x + 2, y + 1), captions[number], fill="black")
    return sheet


def to_bytes(image: "torch.Tensor") -> Any:
    """A (C, H, W) image as an array of (H, W, 3) bytes.

    Its least value is black and its largest white.
    """
    image = image.float()
    low, high = image.min(), image.max()
    image = ((image - low) / (high - low).clamp(min=1e-9) * 255).byte()
    return image.expand(3, -1, -1).permute(1, 2, 0).contiguous().numpy()


def page(title: str, sections: list[tuple[str, str]]) -> str:
    """HTML with a heading above each of the (heading, HTML) pairs."""
    body = "\n".join(f"<h2>{escape(heading)}</h2>\n{html}" for heading, html in sections)
    return PAGE.substitute(title=escape(title), body=body)


def embedded(png: bytes, words: str) -> str:
    """HTML that has a picture in it; `words` say what it shows."""
    code = b64encode(png).decode()
    return f'<img alt="{escape(words)}" src="data:image/png;base64,{code}">'


def table(rows: Any, head: Any = ()) -> str:
    """HTML of rows of texts."""
    lines = [cells(head, "th")] if head else []
    lines += [cells(row, "td") for row in rows]
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def cells(row: Any, tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in row) + "</tr>"


def preformatted(text: str) -> str:
    return f"<pre>{escape(text)}</pre>"


def note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'
