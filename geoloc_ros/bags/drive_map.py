# SPDX-License-Identifier: Apache-2.0
"""A map made from a drive: poses from where they are known, views from the bag, one mosaic."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from geoloc_core.bags.reader import BagReader
from geoloc_core.bags.topics import TopicChoice
from geoloc_core.errors import BagError
from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.evaluation.tum import read_tum
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.maps.mosaic import MosaicConfig, OrthoMosaic
from geoloc_core.sources.mount_calibration import (
    calibrate_mount,
    MountCalibration,
    MountConfig,
)
from geoloc_core.types import GroundView
from geoloc_ros.bags.views import views


def drive_poses(
    reader: BagReader,
    source: str,
    params: Mapping[str, Any],
    topics: TopicChoice | None = None,
    datum: Datum | None = None,
) -> tuple[Trajectory, EnuFrame]:
    """The poses of a drive and the frame they are in.

    Args:
        reader: The bag.
        source: 'truth', 'estimate' or a TUM file.
        params: All parameters.
        topics: The user's choice of topics.
        datum: Origin of truth or TUM poses, where the bag does not tell it.

    Raises:
        BagError: There are no such poses, or nobody says where on Earth they are.
    """
    topics = topics or TopicChoice()
    if source == 'estimate':
        return _estimated(reader, params, topics)
    where = datum or reader.truth_datum()
    if where is None:
        raise BagError(
            f'{reader.path} does not say where its poses lie on Earth: give the datum, or use '
            f'poses estimated from its fixes'
        )
    if source != 'truth':
        return read_tum(source), EnuFrame(where)
    truth = reader.truth(topics.truth)
    if truth is None:
        raise BagError(
            f'{reader.path} has no ground truth: give a TUM file, or use estimated poses'
        )
    return truth, EnuFrame(where)


def _estimated(
    reader: BagReader, params: Mapping[str, Any], topics: TopicChoice
) -> tuple[Trajectory, EnuFrame]:
    """Geoloc's own poses from GNSS, odometry and IMU, asked at every frame."""
    from geoloc_ros.assembly import build_localizer
    from geoloc_ros.bags.offline import OfflineOptions, run_offline

    localizer = build_localizer({**params, 'map.path': ''})
    answers: list[tuple[int, Any]] = []

    def keep(number: int, view: GroundView, estimate: Any) -> None:
        if estimate.T_map_base is not None:
            answers.append((view.stamp_ns, estimate.T_map_base))

    run_offline(reader, localizer, params, OfflineOptions(topics), after_view=keep)
    if localizer.frame is None or not answers:
        raise BagError(
            f'geoloc finds no poses in {reader.path}: it needs fixes and enough motion to tell '
            f'which way the robot faces'
        )
    return Trajectory.of(answers), localizer.frame


def refined_mount(
    reader: BagReader,
    poses: Trajectory,
    params: Mapping[str, Any],
    topics: TopicChoice | None = None,
    every: int = 1,
    offset: int = 0,
) -> MountCalibration:
    """How the camera really sits, found from a drive's own frames; arguments as below.

    Raises:
        CalibrationError: The frames do not tell, or the mount is wrong beyond repair.
    """
    kept, at = [], []
    for view in views(reader, params, topics, every, offset):
        pose, known = poses.at([view.stamp_ns])
        if known[0]:
            kept.append(view)
            at.append(pose[0])
    return calibrate_mount(kept, at, MountConfig(base_height_m=params['matcher.base_height_m']))


def mosaic_of_drive(
    reader: BagReader,
    poses: Trajectory,
    frame: EnuFrame,
    params: Mapping[str, Any],
    config: MosaicConfig | None = None,
    topics: TopicChoice | None = None,
    every: int = 1,
    offset: int = 0,
    progress: Callable[[Iterable[GroundView]], Iterable[GroundView]] | None = None,
) -> tuple[OrthoMosaic, list[int]]:
    """Blends a drive's frames to a map.

    Args:
        reader: The bag.
        poses: T_map_base over the drive; interpolated at the frames.
        frame: Where `poses` lie on Earth.
        params: All parameters, for mounts.
        config: Settings of the mosaic.
        topics: The user's choice of topics.
        every: One frame of so many.
        offset: Number of the first frame.
        progress: Wraps the views, for a progress bar.

    Returns:
        The mosaic, and the stamps of its views in the order of their numbers in it. Frames
        without a pose are left out.
    """
    mosaic = OrthoMosaic(frame, config)
    frames: Iterable[GroundView] = views(reader, params, topics, every, offset)
    used = []
    for view in frames if progress is None else progress(frames):
        pose, known = poses.at([view.stamp_ns])
        if known[0]:
            mosaic.add(view, pose[0])
            used.append(view.stamp_ns)
    return mosaic, used
