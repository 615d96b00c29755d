# SPDX-License-Identifier: Apache-2.0
"""Reads the folder that an evaluation wrote, for the plots and the report.

Only `frames.csv` and `metrics.json` must be there; what else is missing leaves its place empty.
"""

import csv
from dataclasses import dataclass, field
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError

Array = NDArray[np.float64]

SYSTEMS = ('geoloc', 'gnss', 'odometry')
TEXT_COLUMNS = ('status', 'reasons')
NEEDED_COLUMNS = ('stamp_ns', 'status', 'reasons', 'x', 'y', 'truth_x', 'truth_y', 'error_m')
NUMBER_COLUMNS = (
    'x y yaw std_x std_y std_yaw cov_xx cov_xy cov_yy truth_x truth_y truth_yaw error_m lateral_m '
    'longitudinal_m yaw_error_deg latency_ms meas_x meas_y meas_yaw'
).split()

# A fix is missing when the gap is this many times the usual one, and at least this long.
OUTAGE_GAP_RATIO = 3.0
OUTAGE_GAP_S = 3.0


@dataclass(frozen=True)
class Trajectory:
    """A track in the map frame: `stamps_ns` (N,) int64, `xy` (N, 2) in m."""

    stamps_ns: NDArray[np.int64]
    xy: Array

    def error_against(self, truth: 'Trajectory') -> Array:
        """Distance (N,) in m to `truth` interpolated at the own stamps; NaN outside its time."""
        if len(truth.stamps_ns) < 2:
            return np.full(len(self.stamps_ns), np.nan)
        start = truth.stamps_ns[0]
        time, base = (self.stamps_ns - start) / 1e9, (truth.stamps_ns - start) / 1e9
        there = np.stack(
            [np.interp(time, base, truth.xy[:, i], np.nan, np.nan) for i in range(2)], axis=1
        )
        return np.linalg.norm(self.xy - there, axis=1)


@dataclass(frozen=True)
class RunFolder:
    """What an evaluation left behind.

    Attributes:
        path: The folder.
        metrics: `metrics.json` as it is.
        stamps_ns: (N,) int64, one per input frame.
        text: Columns `status` and `reasons`, N strings each.
        numbers: Every column of `NUMBER_COLUMNS`, (N,) float64, NaN where empty.
        trajectories: By name: truth, geoloc, gnss, odometry; absent ones are left out.
        outages: (start, end) stamps in ns during which there was no GNSS.
        pictures: Row of the frame -> kind ('match' or 'view') -> JPEG file.
        map_image: Aerial image, or None.
        map_bounds: (min x, min y, max x, max y) of its outer edges, m; None without image.
        attribution: Who must be named for the imagery.
        parameters: The parameters that the run used; {} if not recorded.
    """

    path: Path
    metrics: dict[str, Any]
    stamps_ns: NDArray[np.int64]
    text: dict[str, list[str]]
    numbers: dict[str, Array]
    trajectories: dict[str, Trajectory]
    outages: list[tuple[int, int]]
    pictures: dict[int, dict[str, Path]] = field(default_factory=dict)
    map_image: Path | None = None
    map_bounds: tuple[float, float, float, float] | None = None
    attribution: str = ''
    parameters: dict[str, Any] = field(default_factory=dict)

    @property
    def time_s(self) -> Array:
        """(N,) seconds since the first frame."""
        return (self.stamps_ns - self.stamps_ns[0]) / 1e9

    def seconds(self, stamps_ns: Any) -> Array:
        """Stamps as seconds since the first frame."""
        return (np.asarray(stamps_ns, dtype=np.int64) - self.stamps_ns[0]) / 1e9

    @property
    def cov_xy(self) -> Array:
        """(N, 2, 2) position covariances, m^2."""
        xx, xy, yy = (self.numbers[name] for name in ('cov_xx', 'cov_xy', 'cov_yy'))
        return np.stack([np.stack([xx, xy], axis=1), np.stack([xy, yy], axis=1)], axis=1)

    @property
    def major_std(self) -> Array:
        """(N,) standard deviation along the longer axis of the position ellipse, m."""
        xx, xy, yy = (self.numbers[name] for name in ('cov_xx', 'cov_xy', 'cov_yy'))
        return np.sqrt(0.5 * (xx + yy) + np.hypot(0.5 * (xx - yy), xy))

    @property
    def mahalanobis_squared(self) -> Array:
        """(N,) squared position error normalised by the covariance (NEES, 2 degrees)."""
        dx = self.numbers['x'] - self.numbers['truth_x']
        dy = self.numbers['y'] - self.numbers['truth_y']
        xx, xy, yy = (self.numbers[name] for name in ('cov_xx', 'cov_xy', 'cov_yy'))
        determinant = xx * yy - xy**2
        with np.errstate(divide='ignore', invalid='ignore'):
            value = (yy * dx**2 - 2 * xy * dx * dy + xx * dy**2) / determinant
        return np.where(determinant > 0, value, np.nan)


def read_run(path: Path | str) -> RunFolder:
    """Reads an evaluation's folder.

    Args:
        path: Folder with `frames.csv` and `metrics.json`.

    Returns:
        Its content; optional files that are absent are left out.

    Raises:
        ConfigError: A needed file or column is missing or damaged.
    """
    path = Path(path)
    metrics = _read_json(path / 'metrics.json', needed=True)
    stamps_ns, text, numbers = _read_frames(path / 'frames.csv')
    trajectories = {}
    for name in ('truth', *SYSTEMS):
        file = path / f'trajectory_{name}.tum'
        if file.is_file():
            trajectories[name] = _read_tum(file)
    info = _read_json(path / 'map.json', needed=False)
    image = path / 'map.jpg'
    bounds = _bounds(info, path / 'map.json') if info and image.is_file() else None
    return RunFolder(
        path=path,
        metrics=metrics,
        stamps_ns=stamps_ns,
        text=text,
        numbers=numbers,
        trajectories=trajectories,
        outages=_outages(metrics, trajectories.get('gnss'), stamps_ns),
        pictures=_pictures(path / 'frames'),
        map_image=image if bounds else None,
        map_bounds=bounds,
        attribution=str(info.get('attribution') or metrics.get('attribution') or ''),
        parameters=metrics.get('parameters') or _read_json(path / 'parameters.json', needed=False),
    )


def _read_json(path: Path, *, needed: bool) -> dict[str, Any]:
    if not path.is_file():
        if needed:
            raise ConfigError(f'{path} is missing: give a folder that `geoloc evaluate` wrote')
        return {}
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ConfigError(f'{path} is not JSON: {error}') from error
    if not isinstance(content, dict):
        raise ConfigError(f'{path} must hold a JSON object, found {type(content).__name__}')
    return content


def _read_frames(
    path: Path,
) -> tuple[NDArray[np.int64], dict[str, list[str]], dict[str, Array]]:
    if not path.is_file():
        raise ConfigError(f'{path} is missing: give a folder that `geoloc evaluate` wrote')
    with path.open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        missing = [name for name in NEEDED_COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ConfigError(f'{path} lacks the column(s) {", ".join(missing)}')
        rows = list(reader)
    if not rows:
        raise ConfigError(f'{path} holds no frame: nothing to report')
    try:
        stamps_ns = np.array([int(row['stamp_ns']) for row in rows], dtype=np.int64)
        numbers = {
            name: np.array([float(row.get(name) or 'nan') for row in rows])
            for name in NUMBER_COLUMNS
        }
    except ValueError as error:
        raise ConfigError(f'{path} holds something that is not a number: {error}') from error
    return stamps_ns, {name: [row[name] or '' for row in rows] for name in TEXT_COLUMNS}, numbers


def _read_tum(path: Path) -> Trajectory:
    """Reads 'stamp x y z qx qy qz qw' lines; stamps stay exact as decimal text does."""
    stamps, points = [], []
    for line in path.read_text(encoding='utf-8').splitlines():
        parts = line.split()
        if not parts or parts[0].startswith('#'):
            continue
        try:
            seconds, _, fraction = parts[0].partition('.')
            stamps.append(int(seconds) * 10**9 + int(fraction[:9].ljust(9, '0')))
            points.append([float(parts[1]), float(parts[2])])
        except (ValueError, IndexError) as error:
            raise ConfigError(f'{path}: not a TUM line: {line[:80]!r}') from error
    return Trajectory(
        np.array(stamps, dtype=np.int64), np.array(points, dtype=np.float64).reshape(-1, 2)
    )


def _bounds(info: dict[str, Any], path: Path) -> tuple[float, float, float, float]:
    """Bounds in ENU metres, as [min x, min y, max x, max y] or as an object of these names."""
    bounds = info.get('bounds', info)
    names = ('min_x', 'min_y', 'max_x', 'max_y')
    try:
        values = [bounds[n] for n in names] if isinstance(bounds, dict) else list(bounds)
        west, south, east, north = (float(value) for value in np.ravel(values))
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f'{path}: bounds must be [{", ".join(names)}] in metres') from error
    if not (west < east and south < north):
        raise ConfigError(f'{path}: bounds are empty: {[west, south, east, north]}')
    return west, south, east, north


def _outages(
    metrics: dict[str, Any], gnss: Trajectory | None, stamps_ns: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """Outages as recorded in the metrics, else the long gaps between fixes."""
    recorded = metrics.get('outages_ns')
    if isinstance(recorded, list):
        return [(int(start), int(end)) for start, end in recorded]
    if gnss is None or len(gnss.stamps_ns) < 2:
        return []
    inside = gnss.stamps_ns[(gnss.stamps_ns > stamps_ns[0]) & (gnss.stamps_ns < stamps_ns[-1])]
    stamps = np.concatenate([stamps_ns[:1], inside, stamps_ns[-1:]])
    steps = np.diff(stamps)
    limit = max(OUTAGE_GAP_RATIO * float(np.median(np.diff(gnss.stamps_ns))), OUTAGE_GAP_S * 1e9)
    return [(int(stamps[i]), int(stamps[i + 1])) for i in np.flatnonzero(steps > limit)]


def _pictures(folder: Path) -> dict[int, dict[str, Path]]:
    found: dict[int, dict[str, Path]] = {}
    for file in sorted(folder.glob('*_*.jpg')):
        number, _, kind = file.stem.partition('_')
        if number.isdigit() and kind in ('view', 'match'):
            found.setdefault(int(number), {})[kind] = file
    return found
