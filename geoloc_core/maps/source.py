# SPDX-License-Identifier: Apache-2.0
"""What every source of aerial imagery promises."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from geoloc_core.geometry.geodesy import EnuFrame
from geoloc_core.types import AerialPatch


@dataclass(frozen=True)
class MapInfo:
    """What a person wants to know about a map.

    Attributes:
        name: Path or template the map was opened from.
        kind: 'geotiff', 'mbtiles', 'tile folder', 'tile url', ...
        crs: Coordinate reference system as an authority string, e.g. 'EPSG:32632'.
        bounds_deg: (west, south, east, north), WGS84; west > east across the antimeridian.
        gsd: Finest ground sampling distance at the map's middle, m/px.
        size_px: (width, height) at the finest level.
        attribution: Who must be named where the map is shown; '' if nobody.
    """

    name: str
    kind: str
    crs: str
    bounds_deg: tuple[float, float, float, float]
    gsd: float
    size_px: tuple[int, int]
    attribution: str = ''


class AbstractMapSource(ABC):
    """Aerial imagery that can be cut anywhere, at any ground sampling distance."""

    @property
    @abstractmethod
    def info(self) -> MapInfo:
        """What this map is."""

    @abstractmethod
    def patch(
        self, frame: EnuFrame, center_xy: tuple[float, float], size_m: float, gsd: float
    ) -> AerialPatch:
        """Cuts a square patch, north-up in `frame`.

        Args:
            frame: The map frame (ENU at its datum) the patch shall be aligned with.
            center_xy: (east, north) of the patch's middle in `frame`, m.
            size_m: Side of the square, m; the patch has round(size_m / gsd) pixels a side.
            gsd: Ground sampling distance wanted, m/px.

        Returns:
            The patch; where the map has no imagery its mask is False and its image 0. A place
            wholly outside the map gives an all-False mask, not an error.

        Raises:
            MapError: The map's files turn out to be damaged.
        """

    def problems(self) -> tuple[str, ...]:
        """What went wrong so far, for people: each cause with its count and an exact place."""
        return ()

    def close(self) -> None:  # noqa: B027 (some have nothing to release)
        """Releases files and memory. Safe to call twice."""
