# SPDX-License-Identifier: Apache-2.0
"""Renders a whole data set into one layout: planned from a seed, in parallel, resumable.

The plan says where every picture is taken; each picture depends on the plan alone, so any number
of workers, and any number of interruptions, give the same bytes.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from hashlib import sha256
import os
from pathlib import Path
from typing import Any

from geoloc_core import __version__
from geoloc_core.errors import ConfigError
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.simulation.city.make import make_city
from geoloc_core.simulation.city.plan import City
from geoloc_core.simulation.conditions.settings import Conditions
from geoloc_core.simulation.footprints.city import city_from_osm
from geoloc_core.simulation.footprints.geojson import read_osm
from geoloc_core.simulation.footprints.world import world_from_footprints
from geoloc_core.simulation.layouts import files, manifest
from geoloc_core.simulation.layouts.base import LayoutWriter, Rig
from geoloc_core.simulation.layouts.indoor import plan_indoor, RoomStudio
from geoloc_core.simulation.layouts.plan import (
    numbered,
    plan_city,
    share_out,
    world_seed,
    WorldPlan,
)
from geoloc_core.simulation.layouts.registry import layout
from geoloc_core.simulation.layouts.studio import CityStudio, Studio
from geoloc_core.simulation.world import make_world, World

# Whoever shows pictures of a real place must name where its map is from.
ATTRIBUTION_NAME = 'ATTRIBUTION.txt'
_MIN_HALF_EXTENT_M = 60.0
# More than any publisher's picture has; what takes several GB to render is a slip of the pen.
_MAX_PIXELS = 2**26
# Side of a texel of the painted ground, m; finer detail is made while rendering.
_GROUND_GSD = 0.1


@dataclass(frozen=True)
class DatasetOptions:
    """All that decides about the bytes of a data set.

    Attributes:
        layout: Name of a layout, see `registry.LAYOUTS`.
        count: Pictures.
        size: (width, height) of each, px; the publisher's if None.
        cities: Worlds (rooms for indoor layouts) to share them between.
        seed: Of everything.
        conditions: What makes it hard.
        half_extent: Half the side of a city's square, m.
        blocks: Blocks of houses along each side of a city.
        osm: OpenStreetMap GeoJSON whose streets and houses every city takes, at the layout's own
            places on Earth; the rest of each is made up anew. None for made-up cities.
    """

    layout: str
    count: int
    size: tuple[int, int] | None = None
    cities: int = 4
    seed: int = 0
    conditions: Conditions = field(default_factory=Conditions)
    half_extent: float = 240.0
    blocks: int = 5
    osm: Path | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be made.

        Raises:
            ConfigError: A number is out of range, or the layout is unknown.
        """
        indoor = layout(self.layout).INDOOR
        if self.osm is not None and indoor:
            raise ConfigError(f'layout {self.layout} is indoors: it takes no OpenStreetMap file')
        if self.osm is not None and not self.osm.is_file():
            raise ConfigError(f'{self.osm}: no such file; expected GeoJSON from OpenStreetMap')
        if self.count < 1 or self.cities < 1:
            raise ConfigError(f'{self.count} pictures of {self.cities} cities: need one at least')
        if self.cities > self.count:
            raise ConfigError(
                f'{self.cities} cities for {self.count} pictures: at most one city a picture'
            )
        if self.size is not None and min(self.size) < 16:
            raise ConfigError(f'pictures of {self.size[0]}x{self.size[1]} px: too small to be any')
        if self.size is not None and self.size[0] * self.size[1] > _MAX_PIXELS:
            raise ConfigError(
                f'pictures of {self.size[0]}x{self.size[1]} px: at most {_MAX_PIXELS} pixels each'
            )
        if self.seed < 0:
            raise ConfigError(f'seed {self.seed}: expected 0 or a positive whole number')
        if self.half_extent < _MIN_HALF_EXTENT_M or self.blocks < 1:
            raise ConfigError(
                f'a city of {2 * self.half_extent:g} m with {self.blocks} blocks along a side: '
                f'expected at least {2 * _MIN_HALF_EXTENT_M:g} m and one block'
            )

    def as_json(self) -> dict[str, Any]:
        """For the manifest, with the version that renders it."""
        options = {**asdict(self), 'version': __version__}
        if self.osm is not None:
            # What is in it counts, not where it lies.
            options['osm'] = sha256(self.osm.read_bytes()).hexdigest()
        revision = layout(self.layout).REVISION
        if revision > 1:
            # Folders of a layout's first revision do not name it.
            options['revision'] = revision
        return options


def render_dataset(
    root: Path | str,
    options: DatasetOptions,
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Renders a data set, or what is missing of it.

    Args:
        root: Folder of the data set; new, or one that was begun with the same options.
        options: What to render.
        workers: Threads; as many as there are processors if None. The bytes do not depend on it.
        progress: Called with the number of pictures that are done, each time some are.
        say: Called with what is going on, in a few words.

    Returns:
        The manifest, see `manifest.seal`.

    Raises:
        ConfigError: An option cannot be met, or the folder holds something else.
        OSError: The disk is full or may not be written.
    """
    root = Path(root)
    writer_class = layout(options.layout)
    rig = writer_class.rig(*(options.size or writer_class.DEFAULT_SIZE))
    manifest.claim(root, options.as_json())
    tell = say or (lambda _: None)
    count = progress or (lambda _: None)
    writer = writer_class(root)
    tell('planning')
    plans = _plans(writer_class, rig, options)
    writer.begin(place for plan in plans for place in plan.places)
    threads = workers or os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        try:
            for plan in plans:
                missing = [place for place in plan.places if not writer.is_done(place)]
                count(len(plan.places) - len(missing))
                if missing:
                    tell(f'making world {plan.number + 1} of {options.cities}')
                    studio = _studio(writer, plan, rig, options, threads)
                    tell(f'world {plan.number + 1} of {options.cities}')
                    studio.shoot_all(pool, missing, count)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    tell('labels')
    writer.finish()
    if options.osm is not None:
        words = read_osm(options.osm, None, None).attribution
        (root / ATTRIBUTION_NAME).write_text(f'{words}\n', encoding='utf-8')
    splits = [place.split for place in writer.places]
    counts = {
        'pictures': len(splits),
        **{name: splits.count(name) for name in sorted(set(splits))},
    }
    tell('checksums')
    content = manifest.seal(root, options.as_json(), counts)
    files.clear_partial(root)
    return content


def _plans(writer: type[LayoutWriter], rig: Rig, options: DatasetOptions) -> list[WorldPlan]:
    plans, first = [], 0
    for number, count in enumerate(share_out(options.count, options.cities)):
        seed = world_seed(options.seed, number)
        if writer.INDOOR:
            plans.append(plan_indoor(writer, rig, number, seed, first, count))
        else:
            city = _city(options, seed)
            plans.append(plan_city(writer, city, number, seed, first, count))
        first += count
    return numbered(plans)


def _studio(
    writer: LayoutWriter, plan: WorldPlan, rig: Rig, options: DatasetOptions, workers: int
) -> Studio:
    if writer.INDOOR:
        return RoomStudio(writer, plan, rig, options.conditions)
    return CityStudio(
        writer,
        plan,
        rig,
        options.conditions,
        make=lambda datum: _world(options, plan.seed, datum),
        workers=workers,
    )


def _city(options: DatasetOptions, seed: int) -> City:
    """The plan of one city."""
    if options.osm is None:
        return make_city(seed, options.half_extent, options.blocks)
    return city_from_osm(read_osm(options.osm, None, None), seed)


def _world(options: DatasetOptions, seed: int, datum: Datum) -> World:
    """One city with its ground, standing where the layout wants it."""
    if options.osm is not None:
        return replace(
            world_from_footprints(options.osm, seed, ground_gsd=_GROUND_GSD), datum=datum
        )
    return make_world(
        seed,
        datum=datum,
        half_extent=options.half_extent,
        blocks=options.blocks,
        ground_gsd=_GROUND_GSD,
    )
