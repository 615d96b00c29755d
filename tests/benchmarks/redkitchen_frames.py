# SPDX-License-Identifier: Apache-2.0
"""The frames of a real kitchen, the calibration of their colour camera, and maps made of them."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geoloc_core.features.registry import open_features
from geoloc_core.formats.kinect import CALIBRATIONS, DEPTH_CAMERA
from geoloc_core.formats.pose_list import read_pose_list
from geoloc_core.geometry import se3
from geoloc_core.geometry.registration import register_depth
from geoloc_core.maps.place.builder import build_place, BuildConfig
from geoloc_core.maps.place.depth import points_at
from geoloc_core.maps.place.records import PlaceMap
from geoloc_core.maps.place.selection import SelectionConfig
from geoloc_core.maps.place.sequence import MemorySequence, PosedView
from geoloc_core.types import GroundView
from tests.benchmarks import colour_calibration
from training.datasets.base import read_rgb
from training.datasets.hand_held import T_BASE_CAMERA
from training.datasets.seven_scenes_files import list_frames, read_depth, read_pose

FOLDER = Path('seven_scenes_redkitchen') / 'seq'
LAST_MAP, FIRST_QUERY, GOOD_TRUTH = 745, 750, 930
START = CALIBRATIONS['redkitchen']


@dataclass
class Frame:
    """One frame as it lies on disk: colour, depth of its own camera, pose of that camera."""

    number: int
    image: np.ndarray
    depth: np.ndarray
    T_world_depth: np.ndarray

    @property
    def T_world_colour(self) -> np.ndarray:
        return self.T_world_depth @ se3.inverse(START.T_colour_depth)

    def view(self, camera, with_depth=True) -> GroundView:
        depth = None
        if with_depth:
            depth = register_depth(self.depth, DEPTH_CAMERA, camera, START.T_colour_depth)
        stamp = self.number * 1_000_000_000 // 30
        return GroundView(stamp, self.image, camera, T_BASE_CAMERA, depth)


def name_of(number: int) -> str:
    """Of a picture, as lists of poses name it: the frames are those of the first sequence."""
    return f'seq-01/frame-{number:06d}.color.png'


def with_poses(frames: list[Frame], path: Path) -> list[Frame]:
    """The frames that a list of poses of the colour camera names, with its poses."""
    listed = read_pose_list(path)
    return [
        replace(frame, T_world_depth=listed[name].T_world_camera @ START.T_colour_depth)
        for frame in frames
        if (name := name_of(frame.number)) in listed
    ]


def read(folder: Path, numbers=None) -> list[Frame]:
    frames, _ = list_frames(folder, 'redkitchen')
    if numbers is not None:
        frames = [frame for frame in frames if frame.number in numbers]
    return [
        Frame(frame.number, read_rgb(colour), read_depth(depth), read_pose(pose))
        for frame in frames
        for colour, depth, pose in [frame.files]
    ]


def calibrated(frames: list[Frame]):
    """The colour camera by the map frames alone, and how well it explains them."""
    detector = open_features('sift')
    local = [detector.detect(frame.image) for frame in frames]
    poses = np.stack([frame.T_world_colour for frame in frames])
    camera, figures = START.camera, {}
    # Depth is registered by the camera that is sought: once more with what was found.
    for turn in ('first', 'second'):
        depths = [
            points_at(found.xy, frame.view(camera).depth, camera, np.eye(4))[:, 2].astype(float)
            for frame, found in zip(frames, local, strict=True)
        ]
        pairs = colour_calibration.find_pairs(local, depths, poses, camera)
        camera, figures[turn] = colour_calibration.fit(pairs, poses, camera)
    figures['camera'] = {name: getattr(camera, name) for name in ('fx', 'fy', 'cx', 'cy')} | {
        'k1': camera.distortion[0],
        'k2': camera.distortion[1],
    }
    return camera, figures


def make_map(frames: list[Frame], camera, features: str, coverage: float) -> PlaceMap:
    views = [
        PosedView(
            f'frame-{frame.number:06d}',
            frame.view(camera),
            frame.T_world_colour @ se3.inverse(T_BASE_CAMERA),
        )
        for frame in frames
    ]
    config = BuildConfig(features=features, selection=SelectionConfig(coverage=coverage))
    return build_place(MemorySequence('redkitchen', views), config)
