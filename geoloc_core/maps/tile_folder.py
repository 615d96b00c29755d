# SPDX-License-Identifier: Apache-2.0
"""A folder of tiles on disk, named by a template such as `/maps/town/{z}/{x}/{y}.png`."""

from collections.abc import Iterable, Iterator
import json
import os
from pathlib import Path
import re

from geoloc_core.errors import MapError
from geoloc_core.geometry.tiles import tms_row
from geoloc_core.maps.pyramid import Window
from geoloc_core.maps.tile_picture import picture_size
from geoloc_core.maps.tile_store import AbstractTileStore, Ledger, require_zoom, Tile

_EXTENSIONS = ('png', 'jpg', 'jpeg', 'webp')
_MAX_TILE_BYTES = 16 * 2**20


class TileTemplate:
    """A path or URL with places for a tile's address.

    Known are {z} (or {level}), {x}, {y} (rows from the north, XYZ) and {-y} (from the south, TMS).
    """

    def __init__(self, text: str) -> None:
        """Checks the placeholders.

        Raises:
            MapError: One is unknown or missing.
        """
        self.text = text
        names = set(re.findall(r'\{([^{}]*)\}', text))
        unknown = names - {'z', 'level', 'x', 'y', '-y'}
        if unknown:
            raise MapError(
                f'{text} has unknown placeholder {{{sorted(unknown)[0]}}}; known are {{z}} or '
                '{level}, {x}, {y} and {-y}'
            )
        if not (names & {'z', 'level'} and 'x' in names and len(names & {'y', '-y'}) == 1):
            raise MapError(f'{text} must name {{z}} (or {{level}}), {{x}} and {{y}} (or {{-y}})')

    def fill(self, tile: Tile) -> str:
        """The path or URL of a tile."""
        return (
            self.text.replace('{z}', str(tile.z))
            .replace('{level}', str(tile.z))
            .replace('{x}', str(tile.x))
            .replace('{y}', str(tile.y))
            .replace('{-y}', str(tms_row(tile.y, tile.z)))
        )

    def parse(self, path: str) -> Tile | None:
        """The tile that a path belongs to, or None."""
        match = self._pattern.fullmatch(path)
        if match is None:
            return None
        found = {key: int(value) for key, value in match.groupdict().items()}
        y = found['y'] if 'y' in found else tms_row(found['s'], found['z'])
        return Tile(found['z'], found['x'], y)

    @property
    def _pattern(self) -> re.Pattern[str]:
        seen: set[str] = set()
        pattern = ''
        for piece in re.split(r'(\{[^{}]*\})', self.text):
            group = {'{z}': 'z', '{level}': 'z', '{x}': 'x', '{y}': 'y', '{-y}': 's'}.get(piece)
            if group is None:
                pattern += re.escape(piece)
            else:
                pattern += f'(?P={group})' if group in seen else rf'(?P<{group}>\d+)'
                seen.add(group)
        return re.compile(pattern)


class FolderStore(AbstractTileStore):
    """Tiles as single files."""

    kind = 'tile folder'

    def __init__(self, template: str, attribution: str = '') -> None:
        """Looks through the folder once.

        Args:
            template: Path with placeholders; see `TileTemplate`. `folder_template` makes one.
            attribution: Who must be named.

        Raises:
            MapError: No such folder, no tiles in it, or the first tile is damaged.
        """
        self.name = template
        self.attribution = attribution
        self.ledger = Ledger()
        self._template = TileTemplate(template)
        self._root = Path(template.split('{')[0] + '_').parent
        if not self._root.is_dir():
            raise MapError(f'{template}: there is no folder {self._root}')
        low: dict[int, tuple[int, int]] = {}
        high: dict[int, tuple[int, int]] = {}
        self._count = 0
        sample: Tile | None = None
        for tile in self.tiles():
            self._count += 1
            low_x, low_y = low.get(tile.z, (tile.x, tile.y))
            high_x, high_y = high.get(tile.z, (tile.x, tile.y))
            low[tile.z] = min(low_x, tile.x), min(low_y, tile.y)
            high[tile.z] = max(high_x, tile.x), max(high_y, tile.y)
            sample = tile if sample is None or tile.z > sample.z else sample
        if sample is None:
            raise MapError(
                f'{self._root} has no tiles named like {template}; expected for example '
                f'{self._template.fill(Tile(18, 137000, 89000))}'
            )
        self.ranges = {
            require_zoom(template, z): Window(x, y, high[z][0] - x + 1, high[z][1] - y + 1)
            for z, (x, y) in low.items()
        }
        try:
            self.tile_px = picture_size(Path(self.place(sample)).read_bytes())[0]
        except (MapError, OSError) as error:
            raise MapError(f'{self.place(sample)}: {error}') from error

    def fetch(self, tiles: Iterable[Tile]) -> Iterator[tuple[Tile, bytes | None]]:
        """See base class."""
        for tile in tiles:
            path = self.place(tile)
            data: bytes | None = None
            try:
                if os.path.getsize(path) > _MAX_TILE_BYTES:
                    self.ledger.note('tile file unreasonably large', path)
                else:
                    data = Path(path).read_bytes()
            except FileNotFoundError:
                self.ledger.note('no such file', path)
            except OSError as error:
                self.ledger.note(error.strerror or 'unreadable', path)
            yield tile, data

    def place(self, tile: Tile) -> str:
        """See base class."""
        return self._template.fill(tile)

    def tiles(self) -> Iterator[Tile]:
        """See base class."""
        # The template may or may not start with './'; names are made to look like it.
        prefix = self._template.text.split('{')[0]
        start = prefix[: len(prefix) - len(os.path.basename(prefix))] or '.'
        for folder, folders, files in os.walk(start):
            folders.sort()
            for name in sorted(files):
                path = os.path.join(folder, name)
                if start == '.' and not prefix.startswith('.'):
                    path = path[2:]
                tile = self._template.parse(path)
                if tile is not None:
                    yield tile

    def count(self) -> int:
        """See base class."""
        return self._count


def folder_template(folder: Path) -> str:
    """The template of a {z}/{x}/{y} folder: its extension, and which way its rows count.

    Rows count from the north unless the folder says otherwise: `metadata.json` with scheme tms
    (mb-util), or `tilemapresource.xml` (gdal2tiles without --xyz).

    Raises:
        MapError: There is nothing like a tile in the folder.
    """
    for level in sorted(folder.iterdir()):
        if not (level.name.isdigit() and level.is_dir()):
            continue
        for column in sorted(level.iterdir()):
            if not (column.name.isdigit() and column.is_dir()):
                continue
            for tile in sorted(column.iterdir()):
                extension = tile.suffix[1:]
                if tile.stem.isdigit() and extension.lower() in _EXTENSIONS:
                    row = '{-y}' if _is_tms(folder) else '{y}'
                    return f'{folder}/{{z}}/{{x}}/{row}.{extension}'
    raise MapError(
        f'{folder} has no tiles: expected files like 18/137000/89000.png in it '
        f'({", ".join(_EXTENSIONS)}); name another layout by a template with {{z}}, {{x}}, {{y}}'
    )


def _is_tms(folder: Path) -> bool:
    try:
        stated = json.loads((folder / 'metadata.json').read_text()).get('scheme')
    except (OSError, ValueError, AttributeError):
        stated = None
    return stated == 'tms' or (stated is None and (folder / 'tilemapresource.xml').exists())
