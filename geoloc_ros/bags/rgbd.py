# SPDX-License-Identifier: Apache-2.0
"""Folders of RGB-D frames (7-Scenes, TUM) as rosbag2 bags.

base_link is the colour camera's centre, x forward, y left, z up: there is no robot. Depth keeps
its own camera, frame and CameraInfo where the data set did not register it, so that the node does
what it would do with the sensor itself. Reference poses are those of the data set, told of
base_link. The world is the data set's own where its z is up (TUM); that of 7-Scenes, in which y is
about down and z forward, is turned upright, as the node does with a place map made of it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.bags import messages
from geoloc_core.bags import topics as names
from geoloc_core.bags.depth_encoding import compressed_depth, FORMAT_16UC1
from geoloc_core.bags.writer import BagWriter
from geoloc_core.errors import BagError, DataError
from geoloc_core.formats.rgbd_folder import Picture, read_counts, RgbdFolder
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.registration import register_depth
from geoloc_core.messages.conversions import R_BODY_OPTICAL
from geoloc_ros.parameters import yaml_value

Array = NDArray[np.float64]

ENCODINGS = ('16UC1', '32FC1')
T_BASE_CAMERA: Array = se3.make(R_BODY_OPTICAL, np.zeros(3))
# Nothing rolls on wheels here: a hand turns and tilts the camera as it likes.
HAND_HELD = {
    'smoother.std_tilt': 3.0,
    'motion.std_accel': 1.0,
    'motion.std_across': 1.0,
    'motion.std_vertical': 1.0,
    'motion.std_tilt_rate': 0.3,
    'motion.std_yaw_rate': 0.3,
    'vision.std_position_min': 0.005,
    'reacquire.after_s': 1.0,
}
# ROS takes a stamp of zero for none; frames that carry a number only begin here.
FIRST_STAMP_NS = 1_000_000_000 * 10**9
# A folder without times begins near zero.
_NO_TIME_NS = 10**6 * 10**9


@dataclass(frozen=True)
class RgbdOptions:
    """How a folder becomes a bag.

    Attributes:
        raw: Decoded pictures instead of the files as they are (PNG and JPEG, compressedDepth).
        depth_encoding: '16UC1' in mm, or '32FC1' in m, which is always raw.
        register: Lay depth over the colour pictures, as some drivers do, and write that.
        depth: Write depth.
        poses: Write the reference poses, where there are any.
        first: Number of the first frame: as in the file names of 7-Scenes, counted in TUM's.
        last: Number of the last one; to the end if None.
        every: Take one frame of so many; depth pictures between them go too.
    """

    raw: bool = False
    depth_encoding: str = '16UC1'
    register: bool = False
    depth: bool = True
    poses: bool = True
    first: int = 0
    last: int | None = None
    every: int = 1

    def __post_init__(self) -> None:
        """Refuses what cannot be.

        Raises:
            BagError: An unknown encoding, or frames that are none.
        """
        if self.depth_encoding not in ENCODINGS:
            raise BagError(f'depth encoding {self.depth_encoding!r}: expected 16UC1 or 32FC1')
        if self.every < 1 or self.first < 0 or (self.last is not None and self.last < self.first):
            raise BagError(
                f'frames {self.first} to {self.last}, every {self.every}: expected increasing '
                'numbers from 0, and at least every 1'
            )


def convert(
    folder: RgbdFolder,
    out: str | Path,
    options: RgbdOptions | None = None,
    overwrite: bool = False,
    progress: Callable[[Iterable], Iterable] | None = None,
) -> dict[str, int]:
    """Writes a folder of RGB-D frames as a rosbag2 (mcap) with the topics of `bags.topics`.

    Args:
        folder: Opened by `geoloc_core.formats.rgbd_folder.open_rgbd_folder`.
        out: Folder of the new bag.
        options: How.
        overwrite: Replace a bag that is there.
        progress: Wraps the iterable of messages for a progress bar (such as `tqdm`).

    Returns:
        How many messages of each topic were written.

    Raises:
        BagError: No frame is left to write, or the bag cannot be written.
        DataError: A picture is missing or damaged.
    """
    options = options or RgbdOptions()
    colour = chosen(folder, options)
    shift = FIRST_STAMP_NS if colour[0].stamp_ns < _NO_TIME_NS else 0
    entries = [*_pictures(folder, colour, options, shift)]
    if options.poses:
        entries += _poses(folder, colour, shift)
    entries.sort(key=lambda entry: entry[0])
    counts: dict[str, int] = {}
    with BagWriter(out, overwrite=overwrite) as bag:
        start = entries[0][0]
        bag.write(names.TF_STATIC, _transforms(folder, options, start), start)
        for stamp, topic, make in progress(entries) if progress is not None else entries:
            bag.write(topic, make(), stamp)
            counts[topic] = counts.get(topic, 0) + 1
    return counts


def chosen(folder: RgbdFolder, options: RgbdOptions) -> tuple[Picture, ...]:
    """The colour pictures to write.

    Raises:
        BagError: None is left.
    """
    last = np.inf if options.last is None else options.last
    inside = [p for p in folder.colour if options.first <= p.number <= last]
    if not inside:
        raise BagError(
            f'{folder.name} has no frames from {options.first} to {options.last}: its numbers go '
            f'from {folder.colour[0].number} to {folder.colour[-1].number}'
        )
    return tuple(inside[:: options.every])


def node_parameters(folder: RgbdFolder, options: RgbdOptions | None = None) -> str:
    """A parameter file (YAML) for the node: transports, mounts and depth of such a bag."""
    options = options or RgbdOptions()
    body = se3.make(R_BODY_OPTICAL, np.zeros(3))
    T = body @ folder.T_colour_depth @ se3.inverse(body)
    own = folder.depth and options.depth and not (folder.is_registered or options.register)
    settings: dict[str, Any] = {
        'image.transport': 'raw' if options.raw else 'compressed',
        'frames.camera_xyz': [0.0, 0.0, 0.0],
        'frames.camera_rpy': [0.0, 0.0, 0.0],
        'depth.enabled': bool(folder.depth and options.depth),
        'depth.transport': 'raw' if _raw_depth(options) else 'compressed',
        **HAND_HELD,
    }
    if own:
        settings['frames.depth_xyz'] = [round(float(v), 9) for v in T[:3, 3]]
        settings['frames.depth_rpy'] = [round(float(v), 9) for v in se3.rpy_from(T)]
    lines = [f"# The node's parameters for a bag made of {folder.name}.", '/**:']
    lines += ['  ros__parameters:']
    lines += [f'    {name}: {yaml_value(value)}' for name, value in settings.items()]
    return '\n'.join(lines) + '\n'


def _raw_depth(options: RgbdOptions) -> bool:
    return options.raw or options.depth_encoding == '32FC1'


def _pictures(
    folder: RgbdFolder, colour: tuple[Picture, ...], options: RgbdOptions, shift: int
) -> Iterator[tuple[int, str, Any]]:
    """Entries (stamp, topic, function that makes the message) of both cameras."""
    for picture in colour:
        stamp = picture.stamp_ns + shift
        yield stamp, names.CAMERA_INFO, lambda s=stamp: _info(folder.colour_camera, s, False)
        topic = names.IMAGE if options.raw else names.COMPRESSED
        yield stamp, topic, lambda s=stamp, p=picture: _colour(folder, p.path, s, options.raw)
    if not options.depth:
        return
    own = not (options.register or folder.is_registered)
    camera = folder.colour_camera if options.register else folder.depth_camera
    topic = names.DEPTH if _raw_depth(options) else names.COMPRESSED_DEPTH
    begin, end = colour[0].stamp_ns - 20_000_000, colour[-1].stamp_ns + 20_000_000
    wanted = {p.number for p in colour} if folder.layout == '7-Scenes' else None
    for picture in folder.depth:
        if not begin <= picture.stamp_ns <= end:
            continue
        if wanted is not None and picture.number not in wanted:
            continue
        stamp = picture.stamp_ns + shift
        yield stamp, names.DEPTH_INFO, lambda s=stamp: _info(camera, s, own)
        yield stamp, topic, lambda s=stamp, p=picture: _depth(folder, p.path, s, options, own)


def _info(camera: PinholeCamera, stamp: int, own: bool) -> Any:
    frame = names.DEPTH_FRAME if own else names.CAMERA_FRAME
    distortion = camera.distortion or (0.0,) * 5
    if len(distortion) == 4:
        distortion = (*distortion, 0.0)
    size = (camera.width, camera.height)
    return messages.camera_info_msg(stamp, *size, camera.K, distortion, frame_id=frame)


def _colour(folder: RgbdFolder, path: Path, stamp: int, raw: bool) -> Any:
    if not raw:
        kind = 'jpeg' if path.suffix == '.jpg' else 'png'
        try:
            return messages.compressed_msg(stamp, path.read_bytes(), kind)
        except OSError as error:
            raise DataError(f'{path} cannot be read: {error.strerror}') from error
    pixels = cv2.imread(str(path), cv2.IMREAD_COLOR)
    size = (folder.colour_camera.height, folder.colour_camera.width)
    if pixels is None or pixels.shape[:2] != size:
        raise DataError(f'{path} is not a picture of {size[1]} x {size[0]}')
    return messages.image_msg(stamp, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))


def _depth(folder: RgbdFolder, path: Path, stamp: int, options: RgbdOptions, own: bool) -> Any:
    counts = read_counts(path)
    size = (folder.depth_camera.height, folder.depth_camera.width)
    if counts.shape != size:
        raise DataError(f'{path} is {counts.shape[::-1]}, expected {size[1]} x {size[0]}')
    metres = counts.astype(np.float32) * np.float32(folder.unit_m)
    metres[counts == 0] = np.nan
    if options.register and not folder.is_registered:
        metres = register_depth(
            metres, folder.depth_camera, folder.colour_camera, folder.T_colour_depth
        )
    frame = names.DEPTH_FRAME if own else names.CAMERA_FRAME
    if options.depth_encoding == '32FC1':
        return messages.image_msg(stamp, metres, '32FC1', frame)
    mm = np.rint(np.nan_to_num(metres) * 1000)
    # What does not fit into 16 bits is as unknown as what was not measured.
    counts = np.where(mm < 65535, mm, 0).astype(np.uint16)
    if options.raw:
        return messages.image_msg(stamp, counts, '16UC1', frame)
    return messages.compressed_msg(stamp, compressed_depth(counts), FORMAT_16UC1, frame)


def _poses(
    folder: RgbdFolder, colour: tuple[Picture, ...], shift: int
) -> Iterator[tuple[int, str, Any]]:
    """Entries of the reference poses between the first picture and the last."""
    inside = (folder.poses.stamps_ns >= colour[0].stamp_ns - 50_000_000) & (
        folder.poses.stamps_ns <= colour[-1].stamp_ns + 50_000_000
    )
    if folder.layout == '7-Scenes':
        inside &= np.isin(folder.poses.stamps_ns, [p.stamp_ns for p in colour])
    T_camera_base = se3.inverse(T_BASE_CAMERA)
    upright = np.eye(4) if folder.z_up else se3.make(R_BODY_OPTICAL, np.zeros(3))
    for i in np.flatnonzero(inside):
        stamp = int(folder.poses.stamps_ns[i]) + shift
        T = upright @ folder.poses.poses[i] @ T_camera_base
        yield (
            stamp,
            names.TRUTH,
            lambda s=stamp, T=T: messages.odometry_msg(s, T, frame_id=names.MAP_FRAME),
        )


def _transforms(folder: RgbdFolder, options: RgbdOptions, stamp: int) -> Any:
    links = [(names.BASE_FRAME, names.CAMERA_FRAME, T_BASE_CAMERA)]
    if options.depth and folder.depth and not (options.register or folder.is_registered):
        links.append((names.CAMERA_FRAME, names.DEPTH_FRAME, folder.T_colour_depth))
    return messages.static_transforms_msg(stamp, links)
