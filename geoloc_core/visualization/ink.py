# SPDX-License-Identifier: Apache-2.0
"""Ink for the overlay: colours, text that OpenCV can write, the heat map's colour scale."""

import textwrap

import cv2
import numpy as np
from numpy.typing import NDArray

Rgb = tuple[int, int, int]
Picture = NDArray[np.uint8]

BACKGROUND: Rgb = (22, 25, 30)
TEXT: Rgb = (226, 230, 235)
QUIET: Rgb = (150, 158, 168)
ESTIMATE: Rgb = (86, 200, 255)
MEASUREMENT: Rgb = (255, 255, 255)
GOOD: Rgb = (108, 208, 130)
BAD: Rgb = (255, 150, 80)

FONT = cv2.FONT_HERSHEY_SIMPLEX


def blank(size_px: int) -> Picture:
    """An empty square picture."""
    # A filled rectangle is ten times quicker than numpy's fill with a colour.
    picture: Picture = np.zeros((size_px, size_px, 3), dtype=np.uint8)
    cv2.rectangle(picture, (0, 0), (size_px, size_px), BACKGROUND, -1)
    return picture


def write_lines(canvas: Picture, row: int, lines: list[str], ink: Rgb) -> int:
    """Writes wrapped lines from `row` down, never past the edge; returns the next row."""
    scale = 0.42
    columns = max(8, int((canvas.shape[1] - 24) / (cv2.getTextSize('n', FONT, scale, 1)[0][0])))
    for line in lines:
        for part in textwrap.wrap(plain_text(line), columns):
            if row > canvas.shape[0] - 8:
                return row
            put_text(canvas, part, (12, row), ink, scale)
            row += 18
    return row


def put_text(
    canvas: Picture, text: str, at: tuple[int, int], ink: Rgb, scale: float, rim: bool = False
) -> None:
    """Writes plain text; `rim` makes it readable on any picture."""
    if rim:
        cv2.putText(canvas, text, at, FONT, scale, BACKGROUND, 3, cv2.LINE_AA)
    cv2.putText(canvas, text, at, FONT, scale, ink, 1, cv2.LINE_AA)


def heat_colours(values: NDArray[np.float32]) -> Picture:
    """Colours (..., 3) uint8 RGB of values (...) in 0..1 on the perceptually uniform `inferno`."""
    index = np.clip(np.nan_to_num(values) * 255.0, 0, 255).astype(np.uint8)
    return _INFERNO[index]


def _inferno_table() -> Picture:
    """(256, 3) uint8 RGB; its dark end is left out, which would vanish on dark imagery."""
    ramp = np.linspace(60, 255, 256).astype(np.uint8)[:, None]
    return np.ascontiguousarray(cv2.applyColorMap(ramp, cv2.COLORMAP_INFERNO)[:, 0, ::-1])


_INFERNO = _inferno_table()


def plain_text(text: str) -> str:
    """OpenCV's fonts hold ASCII only: the usual signs are spelled out, others become '?'."""
    for sign, plain in (('©', '(c)'), ('±', '+-'), ('°', ' deg'), ('–', '-'), ('²', '^2')):
        text = text.replace(sign, plain)
    return text.encode('ascii', 'replace').decode('ascii')
