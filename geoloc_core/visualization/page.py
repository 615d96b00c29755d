# SPDX-License-Identifier: Apache-2.0
"""A plain page of headings, tables and pictures in one HTML file that opens offline.

It wears the style of the evaluation's report, and like it fetches nothing: pictures are inlined
and a content security policy forbids the rest. Text reaches it escaped.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
import re

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core import __version__

_STYLE = Path(__file__).parent / 'assets' / 'report.css'
_MORE_STYLE = """
section { margin: 1.6rem 0; }
figure { display: inline-block; vertical-align: top; margin: 0 .8rem 1rem 0; max-width: 100%; }
figure img { display: block; max-width: 100%; border-radius: 4px; }
figcaption { color: var(--quiet); font-size: .8rem; max-width: 60rem; }
.scroll { overflow-x: auto; }
table.figures { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
table.figures th, table.figures td { text-align: right; padding: .15rem .6rem;
  border-bottom: 1px solid var(--line); white-space: nowrap; }
table.figures th:first-child, table.figures td:first-child { text-align: left; }
table.figures tr.quiet td { color: var(--quiet); }
pre { background: var(--panel); border: 1px solid var(--line); padding: .5rem .7rem;
  overflow-x: auto; font-size: .82rem; }
"""


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        title: Its heading.
        html: Its content, escaped where it must be: `table`, `picture`, `words`, `code`.
    """

    title: str
    html: str


def write_page(path: Path, title: str, subtitle: str, sections: Sequence[Section]) -> Path:
    """Writes the page.

    Args:
        path: File to write; its folder is made.
        title: Heading and name of the page.
        subtitle: A line under it.
        sections: In order.

    Returns:
        `path`.
    """
    style = re.sub(r'url\([^)]*\)', 'none', _STYLE.read_text(encoding='utf-8')) + _MORE_STYLE
    body = ''.join(
        f'<section><h2>{escape(part.title)}</h2>{part.html}</section>' for part in sections
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        f'<title>{escape(title)}</title><style>{style}</style></head><body>'
        f'<header><div><h1>{escape(title)}</h1><p>{escape(subtitle)}</p></div></header>'
        f'{body}<footer><p>geoloc {escape(__version__)}</p></footer></body></html>\n',
        encoding='utf-8',
    )
    return path


def table(
    head: Sequence[str], rows: Sequence[Sequence[object]], quiet: Sequence[bool] = ()
) -> str:
    """A table; rows that are marked `quiet` are greyed."""
    top = ''.join(f'<th scope="col">{escape(str(cell))}</th>' for cell in head)
    lines = []
    for index, row in enumerate(rows):
        kind = ' class="quiet"' if index < len(quiet) and quiet[index] else ''
        lines.append(
            f'<tr{kind}>' + ''.join(f'<td>{escape(str(cell))}</td>' for cell in row) + '</tr>'
        )
    return (
        '<div class="scroll"><table class="figures"><thead><tr>'
        f'{top}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'
    )


def picture(image: NDArray[np.uint8] | bytes, caption: str = '', quality: int = 85) -> str:
    """A figure.

    Args:
        image: (H, W, 3) uint8 RGB, inlined as JPEG; or the bytes of a PNG file, as they are.
        caption: Words under it.
        quality: Of the JPEG, 0..100.
    """
    if isinstance(image, bytes):
        kind, data = 'png', image
    else:
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        kind = 'jpeg'
        data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()
    text = base64.b64encode(data).decode('ascii')
    return (
        f'<figure><img alt="{escape(caption)}" src="data:image/{kind};base64,{text}">'
        f'<figcaption>{escape(caption)}</figcaption></figure>'
    )


def words(text: str) -> str:
    """A paragraph."""
    return f'<p class="note">{escape(text)}</p>'


def code(text: str) -> str:
    """Commands or logs, as they are."""
    return f'<pre>{escape(text)}</pre>'
