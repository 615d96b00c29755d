# SPDX-License-Identifier: Apache-2.0
"""Pictures -> what a network is fed, on the device that runs it: `preprocess` in torch.

Where each cell lies is not worked out here: that is said by the same `Lookup` and `GridCut` that
OpenCV reads with on the CPU. So both can differ by how a grey level is rounded, and no more.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
import torch
from torch import Tensor
from torch.nn import functional as F

from geoloc_core.geometry.grid_cut import GridCut
from geoloc_core.geometry.lookup import FRACTIONS, Lookup
from geoloc_core.input_spec import RasterSpec
from geoloc_core.models.base import normalise


class DevicePictures:
    """Makes the inputs of networks from pictures that lie on a device.

    It keeps the tables of the view it made last. Memory that pictures are handed over in is used
    again for the next frame, which must not come before the device has done with this one.
    """

    def __init__(self, device: torch.device | str) -> None:
        """Makes for a device: a GPU, or the CPU where there is none."""
        self.device = torch.device(device)
        self._pinned: dict[str, Tensor] = {}
        self._tables: list[tuple[Lookup, Tensor, Tensor]] = []
        self._colours: dict[tuple[int, ...], Tensor] = {}
        self._weights: dict[tuple[int, int], Tensor] = {}

    def upload(self, name: str, array: NDArray) -> Tensor:
        """An array on the device, by way of pinned memory.

        Args:
            name: Of what it is; memory is kept for each name.
            array: Any.
        """
        if self.device.type == 'cpu':
            return torch.from_numpy(np.array(array, order='C'))
        held = self._pinned.get(name)
        if held is None or held.shape != array.shape or held.numpy().dtype != array.dtype:
            held = torch.from_numpy(np.empty(array.shape, array.dtype)).pin_memory()
            self._pinned[name] = held
        np.copyto(held.numpy(), array)
        return held.to(self.device, non_blocking=True)

    def prepare(self, lookups: Sequence[Lookup]) -> None:
        """Brings the tables of a view to the device, but for those that are there already."""
        held = {id(lookup): entry for entry in self._tables for lookup in entry[:1]}
        self._tables = [
            held.get(id(lookup)) or (lookup, *self._table(lookup, f'table {i}'))
            for i, lookup in enumerate(lookups)
        ]

    def _table(self, lookup: Lookup, name: str) -> tuple[Tensor, Tensor]:
        """(2, H n, W n) u and v, px, and the mask (1, 1, H, W)."""
        uv = self.upload(name, np.stack(lookup.coordinates()))
        return uv, self.upload(f'{name} mask', lookup.mask)[None, None]

    def view(
        self,
        image: Tensor,
        lookups: Sequence[Lookup],
        neutral: NDArray[np.uint8],
        spec: RasterSpec,
    ) -> Tensor:
        """The network's view, (1, C, H, W) float32: as `Preprocessor.view` and `normalised` do.

        Args:
            image: (rows, columns, 3) uint8 RGB on the device.
            lookups: Of `Preprocessor.lookups`: one for each plane.
            neutral: (3,) of `Preprocessor`: colour of what upper planes do not see.
            spec: Of the input.
        """
        self.prepare(lookups)
        picture = image.permute(2, 0, 1)[None].float()
        planes = [self._read(picture, lookup, uv) * seen for lookup, uv, seen in self._tables]
        if len(planes) > 1:
            empty = self._colour(neutral)
            for i, (_, _, seen) in enumerate(self._tables[1:], 1):
                planes[i] = torch.where(seen, planes[i], empty)
        return normalise(torch.cat(planes, dim=1), self._tables[0][2], spec)

    def patch(self, image: Tensor, mask: Tensor, cut: GridCut | None, spec: RasterSpec) -> Tensor:
        """The network's patch, (1, C, H, W) float32: as `Preprocessor.patch` and `normalised` do.

        Args:
            image: (rows, columns, 3) uint8 RGB on the device.
            mask: (rows, columns) bool on the device, where the map has imagery.
            cut: Of `Preprocessor.cut`.
            spec: Of the input.
        """
        picture, known = image.permute(2, 0, 1)[None].float(), mask[None, None].float()
        if cut is not None:
            picture, known = cut_piece(picture, known, cut)
        return normalise(picture, known, spec)

    def _read(self, picture: Tensor, lookup: Lookup, uv: Tensor) -> Tensor:
        """Cells (1, 3, H, W) of a picture (1, 3, rows, columns), whole grey levels."""
        if lookup.shrunk is not None:
            picture = self._shrunk(picture, *lookup.shrunk)
        u, v = uv
        # Tables that wrap count from the picture's own first column, joined ones do not.
        ends = lookup.joined or int(lookup.wraps)
        if ends:
            picture = torch.cat([picture[..., -ends:], picture, picture[..., :ends]], dim=-1)
            u = u + ends if lookup.wraps else u
        cells = sampled(picture, u, v, 'zeros').round()
        return cells if lookup.samples == 1 else F.avg_pool2d(cells, lookup.samples).round()

    def _colour(self, rgb: NDArray[np.uint8]) -> Tensor:
        """(1, 3, 1, 1) of a colour."""
        values = tuple(rgb.tolist())
        if values not in self._colours:
            made = torch.tensor(values, dtype=torch.float32, device=self.device)
            self._colours[values] = made.view(1, 3, 1, 1)
        return self._colours[values]

    def _shrunk(self, picture: Tensor, width: int, height: int) -> Tensor:
        """Shrinks by the mean of areas, also where a pixel is shared by two."""
        rows = self._shares(picture.shape[-2], height)
        columns = self._shares(picture.shape[-1], width)
        return (rows @ picture @ columns.T).round()

    def _shares(self, before: int, after: int) -> Tensor:
        if (before, after) not in self._weights:
            shares = torch.from_numpy(area_shares(before, after))
            self._weights[before, after] = shares.to(self.device)
        return self._weights[before, after]


def sampled(picture: Tensor, u: Tensor, v: Tensor, beyond: str) -> Tensor:
    """Bilinear readings (1, C, H, W) between pixels.

    Args:
        picture: (1, C, rows, columns).
        u: (H, W) columns, px. Convention: integers are pixel centres.
        v: (H, W) rows, px.
        beyond: What lies outside: 'zeros', or 'border' for the nearest pixel.
    """
    height, width = picture.shape[-2:]
    # `grid_sample` counts from -1 to 1, from outer edge to outer edge.
    grid = torch.stack([(2 * u + 1) / width - 1, (2 * v + 1) / height - 1], dim=-1)[None]
    return F.grid_sample(picture, grid, mode='bilinear', padding_mode=beyond, align_corners=False)


def cut_piece(picture: Tensor, known: Tensor, cut: GridCut) -> tuple[Tensor, Tensor]:
    """A piece of a raster, as `GridCut.read`.

    Args:
        picture: (1, 3, rows, columns) float32, 0..255.
        known: (1, 1, rows, columns) float32, 1 where there is content, else 0.
        cut: Which piece.

    Returns:
        (1, 3, h, w) whole grey levels, 0 where nothing is known; (1, 1, h, w) 1 where something
        is, else 0.
    """
    if cut.factor > 1:
        picture = F.avg_pool2d(picture, cut.factor).round()
        # A shrunken pixel counts as known if all that it mixes is.
        known = 1 - F.max_pool2d(1 - known, cut.factor)
    width, height = cut.size
    x = torch.arange(width, device=picture.device, dtype=torch.float32)[None, :]
    y = torch.arange(height, device=picture.device, dtype=torch.float32)[:, None]
    u, v = (
        (FRACTIONS * (float(a) * x + float(b) * y + float(c))).round() / FRACTIONS
        for a, b, c in cut.affine
    )
    piece = sampled(picture, u, v, 'border').round()
    seen = (sampled(known, u, v, 'zeros') >= 0.5).float()
    return piece * seen, seen


@lru_cache(maxsize=16)
def area_shares(before: int, after: int) -> NDArray[np.float32]:
    """Which share (after, before) of each new pixel every old one is, along one axis.

    New pixel i covers old coordinates from i s to (i + 1) s, s = before / after >= 1; its shares
    are the lengths of what it has of each old pixel, over s.
    """
    scale = before / after
    start = np.arange(after)[:, None] * scale
    pixel = np.arange(before)[None, :]
    length = np.minimum(start + scale, pixel + 1) - np.maximum(start, pixel)
    return (np.clip(length, 0.0, None) / scale).astype(np.float32)
