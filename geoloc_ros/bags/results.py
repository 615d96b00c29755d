# SPDX-License-Identifier: Apache-2.0
"""Writes the folder of an evaluation: figures, a line a frame, trajectories, pictures, report."""

import csv
import importlib
import json
import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from geoloc_core.errors import GeolocError
from geoloc_core.evaluation.tum import write_tum
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps.source import AbstractMapSource
from geoloc_core.types import GroundView, PoseEstimate
from geoloc_ros.bags.scoring import Score

log = logging.getLogger(__name__)

COLUMNS = (
    *('stamp_ns', 'status', 'reasons', 'x', 'y', 'yaw', 'std_x', 'std_y', 'std_yaw'),
    *('cov_xx', 'cov_xy', 'cov_yy', 'truth_x', 'truth_y', 'truth_yaw', 'error_m', 'lateral_m'),
    *('longitudinal_m', 'yaw_error_deg', 'latency_ms', 'meas_x', 'meas_y', 'meas_yaw', 'source'),
)
MAP_MARGIN_M = 30.0
MAP_MAX_PX = 3000
JPEG = (cv2.IMWRITE_JPEG_QUALITY, 85)


def write_results(
    out: str | Path,
    score: Score,
    map_source: AbstractMapSource | None = None,
    *,
    report: bool = True,
) -> Path:
    """Writes a scored run.

    Args:
        out: The folder, made if absent; what an earlier run left in it is overwritten.
        score: The scored run.
        map_source: For the aerial picture of the area; none is written without.
        report: Also make plots and the HTML report.

    Returns:
        The report's file if one was made, else `metrics.json`.
    """
    folder = Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'metrics.json').write_text(
        json.dumps(score.metrics, indent=2, allow_nan=False) + '\n', encoding='utf-8'
    )
    with (folder / 'frames.csv').open('w', newline='', encoding='utf-8') as file:
        writer = csv.DictWriter(file, COLUMNS, restval='')
        writer.writeheader()
        writer.writerows(score.rows)
    for name, trajectory in score.trajectories.items():
        write_tum(folder / f'trajectory_{name}.tum', trajectory)
    datum = score.metrics.get('datum')
    if map_source is not None and datum is not None:
        _write_map(folder, score, map_source, EnuFrame(Datum(*datum)))
    if report and score.rows:
        made = make_report(folder)
        if made is not None:
            return made
    return folder / 'metrics.json'


def make_report(folder: Path) -> Path | None:
    """Plots and HTML report of a folder, or None where they cannot be made (said in the log)."""
    try:
        plots = importlib.import_module('geoloc_core.visualization.plots')
        page = importlib.import_module('geoloc_core.visualization.report')
    except ImportError as error:
        log.warning('no report: %s is not installed (pip install matplotlib)', error.name)
        return None
    plots.write_plots(folder)
    return Path(page.write_report(folder))


def _write_map(folder: Path, score: Score, map_source: AbstractMapSource, frame: EnuFrame) -> None:
    """map.jpg and map.json of the square around everything the run knows."""
    points = [t.xy for name, t in score.trajectories.items() if name != 'odometry' and len(t)]
    if not points:
        return
    places = np.concatenate(points)
    low, high = places.min(axis=0) - MAP_MARGIN_M, places.max(axis=0) + MAP_MARGIN_M
    center = (low + high) / 2
    size = float((high - low).max())
    gsd = max(size / MAP_MAX_PX, map_source.info.gsd)
    try:
        patch = map_source.patch(frame, (float(center[0]), float(center[1])), size, gsd)
    except GeolocError as error:
        log.warning('no aerial picture in the report: %s', error)
        return
    if not patch.mask.any():
        log.warning('no aerial picture in the report: the map does not cover the drive')
        return
    # Only what the map covers: the square around the drive often reaches beyond it.
    (v0, v1), (u0, u1) = (
        np.flatnonzero(patch.mask.any(axis=axis))[[0, -1]] + (0, 1) for axis in (1, 0)
    )
    image = np.where(patch.mask[..., None], patch.image, 255)[v0:v1, u0:u1]
    cv2.imwrite(str(folder / 'map.jpg'), image[..., ::-1], JPEG)
    (west, north), (east, south) = patch.grid.xy_from_uv(
        [(u0 - 0.5, v0 - 0.5), (u1 - 0.5, v1 - 0.5)]
    )
    content = {
        'bounds': [west, south, east, north],
        'gsd': gsd,
        'attribution': patch.attribution,
    }
    (folder / 'map.json').write_text(json.dumps(content, indent=2) + '\n', encoding='utf-8')


class FramePictures:
    """Saves a subset of the frames as pictures while a run goes on."""

    def __init__(self, out: str | Path, total: int, limit: int = 60) -> None:
        """Prepares the folder.

        Args:
            out: The evaluation's folder.
            total: Frames to come.
            limit: Pictures wanted at most.
        """
        self.folder = Path(out) / 'frames'
        self.folder.mkdir(parents=True, exist_ok=True)
        for old in self.folder.glob('*.jpg'):
            old.unlink()
        self.every = max(1, -(-total // max(1, limit)))

    def __call__(self, number: int, view: GroundView, estimate: PoseEstimate) -> None:
        """Saves the frame if it is of the subset (an `after_view` of `run_offline`)."""
        if number % self.every:
            return
        self.save(f'{number:05d}_view', view.image)
        if estimate.measurement is not None:
            overlay = importlib.import_module('geoloc_core.visualization.overlay')
            self.save(
                f'{number:05d}_match', overlay.match_image(view, estimate.measurement, estimate)
            )

    def save(self, name: str, rgb: Any) -> None:
        """Writes one (H, W, 3) uint8 RGB picture."""
        image = np.asarray(rgb)
        scale = min(1.0, 960 / image.shape[1])
        if scale < 1.0:
            image = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(self.folder / f'{name}.jpg'), image[..., ::-1], JPEG)
