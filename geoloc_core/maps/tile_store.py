# SPDX-License-Identifier: Apache-2.0
"""What a collection of web-mercator tiles promises, wherever it is kept."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
import threading
from typing import NamedTuple

from geoloc_core.errors import MapError
from geoloc_core.maps.pyramid import Window


class Tile(NamedTuple):
    """Address of a tile: zoom, column from the west, row from the north (XYZ)."""

    z: int
    x: int
    y: int


@dataclass
class _Cause:
    count: int
    place: str


class Ledger:
    """Counts what went wrong, by cause, with the exact place it last happened. Thread-safe."""

    def __init__(self) -> None:
        self._causes: dict[str, _Cause] = {}
        self._lock = threading.Lock()

    def note(self, cause: str, place: str) -> None:
        """Counts one."""
        with self._lock:
            entry = self._causes.setdefault(cause, _Cause(0, place))
            entry.count += 1
            entry.place = place

    def texts(self) -> tuple[str, ...]:
        """One sentence per cause, the most frequent first."""
        with self._lock:
            items = sorted(self._causes.items(), key=lambda item: -item[1].count)
            return tuple(f'{e.count} x {cause}, last {e.place}' for cause, e in items)


class AbstractTileStore(ABC):
    """Encoded tiles by address. Safe to use from several threads.

    Attributes:
        kind: 'mbtiles', 'tile folder' or 'tile url'.
        name: Path or template, as the user gave it.
        attribution: Who must be named; '' if nobody.
        tile_px: Side of a tile, px.
        ranges: Zoom -> columns and rows (XYZ) within which there are tiles.
        ledger: What went wrong so far.
    """

    kind: str
    name: str
    attribution: str
    tile_px: int
    ranges: dict[int, Window]
    ledger: Ledger

    @abstractmethod
    def fetch(self, tiles: Iterable[Tile]) -> Iterator[tuple[Tile, bytes | None]]:
        """Encoded tiles in any order; None, and an entry in the ledger, for one that is missing.

        Raises:
            MapError: The store as a whole is damaged.
        """

    @abstractmethod
    def place(self, tile: Tile) -> str:
        """Exact path or URL of a tile, for people."""

    @abstractmethod
    def tiles(self) -> Iterator[Tile]:
        """All tiles there are.

        Raises:
            MapError: That cannot be known (a server).
        """

    @abstractmethod
    def count(self) -> int:
        """How many tiles there are.

        Raises:
            MapError: That cannot be known (a server).
        """

    def unavailable(self) -> str:
        """Why the store gives nothing at the moment (a server that is down), or ''."""
        return ''

    def close(self) -> None:  # noqa: B027 (some have nothing to release)
        """Releases files and threads. Safe to call twice."""


def require_zoom(name: str, zoom: int) -> int:
    """The zoom itself.

    Raises:
        MapError: It is outside of what web-mercator tiles have (0 to 30).
    """
    if not 0 <= zoom <= 30:
        raise MapError(f'{name} has zoom {zoom}; expected 0 to 30')
    return zoom
