# SPDX-License-Identifier: Apache-2.0
"""7-Scenes: seven small rooms filmed with a Kinect (Shotton et al., CVPR 2013).

Convention: `pose.txt` is camera-to-world of the DEPTH sensor, x right, y down, z forward. The
publisher never says which way is up in a scene's world frame: it is that of the tracker, roughly
the axes of the first camera (y down), and is kept, so that poses compare with published ones.
Depth is in mm and not registered to colour; 0 and 65535 both mean "nothing measured".

There is a second ground truth, from structure from motion, in which methods rank otherwise
(Brachmann et al., ICCV 2021): the option `poses` takes it. Report both.
"""

from collections.abc import Sequence
import logging
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError
from geoloc_core.formats.kinect import CALIBRATIONS, DEPTH_CAMERA
from geoloc_core.formats.pose_list import ListedPose, read_pose_list
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.registration import register_depth
from geoloc_core.types import GroundView
from training.datasets.base import AbsentError, AbstractDataset, read_rgb, UnreadableError
from training.datasets.hand_held import base_from_camera, T_BASE_CAMERA
from training.datasets.holdout import check_shares, GUARD, stretch, stretch_and_aside
from training.datasets.protocol import Protocol
from training.datasets.sample import Sample
from training.datasets.seven_scenes_files import (
    Frame,
    FRAMES_A_SEQUENCE,
    is_flat,
    list_frames,
    LISTS,
    OFFICIAL,
    read_depth,
    read_pose,
    read_split,
    scene_folders,
)

Array = NDArray[np.float64]

log = logging.getLogger(__name__)

_RATE_HZ = 30
# Of the published pictures, whose focal lengths a list of poses has.
_FULL_WIDTH = 640


class SevenScenes(AbstractDataset):
    """One scene, several beside each other, or a plain folder of frames in the same format."""

    NAME: ClassVar[str] = '7-Scenes'
    LAYOUT: ClassVar[str] = (
        '  <root>/TrainSplit.txt  TestSplit.txt         (or <root>/<scene>/...)\n'
        '  <root>/seq-01/frame-000000.{color.png,depth.png,pose.txt}\n'
        '  or all frames in <root> itself, without lists: the last quarter is the test\n'
    )
    SPLITS: ClassVar[tuple[str, ...]] = ('train', 'validation', 'test')

    def __init__(
        self,
        root: Path | str,
        split: str,
        *,
        seed: int = 0,
        registered: bool = True,
        validation: float = 0.1,
        test: float = 0.25,
        guard: float = GUARD,
        aside: float = 0.0,
        calibration: str = 'liris',
        poses: Path | str | None = None,
    ) -> None:
        """Lists the frames.

        Args:
            root: Folder of a scene, of several, or of frames.
            split: 'train', 'validation' or 'test'.
            seed: Of nothing here; every reader has it.
            registered: Give the colour camera's pose, and depth carried into it. Otherwise the
                depth sensor's pose, camera and depth, as pose regression does, which takes the
                colour picture for that of the depth sensor: some 2.6 cm and 0.7 degrees off.
            validation: Share of each training sequence, its end, kept for choosing a model;
                0 leaves the publisher's whole training split.
            test: For a folder of frames without lists: share of its frames, the last ones.
            guard: Share of each training sequence between training and what follows it, left out.
            aside: Share of each training sequence that joins the validation for where it looks:
                the frames whose optical axes are farthest from its mean; 0 for none.
            calibration: How colour and depth relate when `registered`: 'liris', as the field's
                methods take it, or 'redkitchen', fitted to that scene's pictures.
            poses: Instead of the frames' own poses those of a list (`formats.pose_list`) of the
                colour camera, or of a folder with <scene>_train.txt and <scene>_test.txt; focal
                lengths that it has are taken as well. Frames that it lacks are left out.

        Raises:
            DataError: No such folder, no frames, no split list, a list naming no sequence, or
                `poses` with `registered` false.
        """
        super().__init__(root, split, seed=seed)
        check_shares(validation=validation, test=test, guard=guard, aside=aside)
        self._guard, self._aside = guard, aside
        self.registered = registered
        if calibration not in CALIBRATIONS:
            raise DataError(f'calibration {calibration!r}: choose one of {tuple(CALIBRATIONS)}')
        self.calibration = calibration
        if poses is not None and not registered:
            raise DataError('poses of a list are of the colour camera: leave registered true')
        self._poses = None if poses is None else Path(poses)
        self._listed: dict[str, ListedPose] = {}
        self._missing: list[str] = []
        self._frames: list[Frame] = []
        if is_flat(self.root):
            self._read_poses(self.root.name, 'test' if split == 'test' else 'train')
            self._add(self.root, self.root.name, validation, test)
            self._keys = [frame.stem.name for frame in self._frames]
        else:
            for scene in _scenes(self.root):
                self._add_scene(scene, validation)
            self._keys = [f'{frame.sequence}/{frame.stem.name}' for frame in self._frames]

    def _add_scene(self, scene: Path, validation: float) -> None:
        part = 'test' if self.split == 'test' else 'train'
        self._read_poses(scene.name, part)
        for number in self._sequences(scene, part):
            folder = scene / f'seq-{number:02d}'
            name = folder.name if scene == self.root else f'{scene.name}/{folder.name}'
            if not folder.is_dir():
                self._missing.append(
                    f'{folder} is absent, but the {part} list names it: unpack {folder.name}.zip'
                )
                continue
            self._add(folder, name, 0.0 if part == 'test' else validation, 0.0)

    def _read_poses(self, scene: str, part: str) -> None:
        """The listed poses of a scene, by scene, sequence folder and frame."""
        if self._poses is None:
            return
        path = self._poses
        if path.is_dir():
            path = path / f'{scene.lower()}_{part}.txt'
        for name, pose in read_pose_list(path).items():
            self._listed[f'{scene}/{name.partition(".")[0]}'] = pose

    def _pose_of(self, frame: Frame) -> ListedPose | None:
        folder = frame.stem.parent
        scene = folder.name if folder == self.root else folder.parent.name
        for name in (f'{folder.name}/{frame.stem.name}', frame.stem.name):
            if f'{scene}/{name}' in self._listed:
                return self._listed[f'{scene}/{name}']
        return None

    def _sequences(self, scene: Path, part: str) -> list[int]:
        """Sequence numbers that a split list names; warns where they are not the publisher's."""
        path = next((scene / n for n in LISTS[part] if (scene / n).is_file()), None)
        if path is None:
            raise AbsentError(
                f'{scene}: no {LISTS[part][0]}; it comes with the scene and has lines like '
                '"sequence1"; take it from the archive again'
            )
        numbers = read_split(path)
        official = OFFICIAL.get(scene.name.lower())
        if official is not None:
            absent = sorted(set(official[part == 'test']) - set(numbers))
            if absent:
                text = f'{path} leaves out the sequences {absent} of the published {part} split'
                log.warning('%s: results are not comparable', text)
                self._missing.append(text + ": use the publisher's list for comparable results")
        return numbers

    def _add(self, folder: Path, sequence: str, validation: float, test: float) -> None:
        frames, incomplete = list_frames(folder, sequence)
        for name, lacks in incomplete[:3]:
            self._missing.append(
                f'{folder / name} has no {" and no ".join(lacks)}: frame left out'
            )
        if len(incomplete) > 3:
            self._missing.append(f'{folder}: {len(incomplete) - 3} more frames are not whole')
        if not frames:
            self._missing.append(f'{folder} holds no whole frame: unpack its archive here')
        published = FRAMES_A_SEQUENCE.get(folder.parent.name.lower(), 0)
        if 0 < len(frames) + len(incomplete) < published:
            self._missing.append(
                f'{folder} holds {len(frames) + len(incomplete)} of {published} frames: unpack '
                'its archive again'
            )
        if self._poses is not None:
            posed = [frame for frame in frames if self._pose_of(frame) is not None]
            if len(posed) < len(frames):
                self._missing.append(
                    f'{self._poses} has no pose of {len(frames) - len(posed)} of {len(frames)} '
                    f'frames of {sequence}: left out'
                )
            frames = posed
        split = self.split
        if split == 'test' and test == 0.0:
            split = 'all'
        self._frames += [frames[i] for i in self._part(frames, split, validation, test)]

    def _part(
        self, frames: Sequence[Frame], split: str, validation: float, test: float
    ) -> Sequence[int]:
        """Numbers of the frames of a sequence that are of a split."""
        if not self._aside or split in ('test', 'all'):
            return stretch(len(frames), split, validation, test, self._guard)
        axes = [_optical_axis(frame) for frame in frames]
        return stretch_and_aside(
            np.reshape(axes, (-1, 3)),
            split,
            validation=validation,
            test=test,
            guard=self._guard,
            aside=self._aside,
        )

    @classmethod
    def recognises(cls, root: Path) -> bool:
        """Whether a folder holds scenes, a scene, or frames."""
        return root.is_dir() and (is_flat(root) or bool(scene_folders(root)))

    @property
    def keys(self) -> Sequence[str]:
        """'seq-01/frame-000000', with the scene before it where there are several."""
        return self._keys

    @property
    def protocol(self) -> Protocol | None:
        """None: the room is known, the place in it is not."""
        return None

    def files(self, index: int) -> tuple[Path, ...]:
        """Colour, depth and pose of a frame."""
        return self._frames[index].files

    def missing(self) -> Sequence[str]:
        """Absent sequences, frames that lack a file, sequences that a list leaves out."""
        return tuple(self._missing)

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """One frame. Its stamp is its number at the nominal 30 Hz: the files carry no time."""
        frame = self._frames[index]
        colour_path, depth_path, pose_path = frame.files
        image, depth = read_rgb(colour_path), read_depth(depth_path)
        height, width = image.shape[:2]
        if depth.shape != (height, width):
            raise UnreadableError(
                depth_path, f'{width} x {height} pixels as in colour, not {depth.shape[::-1]}'
            )
        # Smaller copies of the data set go around; their cameras shrink with them.
        sensor = DEPTH_CAMERA.resized(width, height)
        T_world_camera = read_pose(pose_path)
        camera = sensor
        if self.registered:
            colour = CALIBRATIONS[self.calibration]
            camera = colour.camera.resized(width, height)
            T_world_camera = T_world_camera @ se3.inverse(colour.T_colour_depth)
            listed = self._pose_of(frame)
            if listed is not None:
                T_world_camera = listed.T_world_camera
                if listed.focal_px is not None:
                    f = listed.focal_px * width / _FULL_WIDTH
                    camera = PinholeCamera(width, height, f, f, (width - 1) / 2, (height - 1) / 2)
            depth = register_depth(depth, sensor, camera, colour.T_colour_depth)
        return Sample(
            key=self._keys[index],
            sequence=frame.sequence,
            view=GroundView(
                frame.number * 1_000_000_000 // _RATE_HZ, image, camera, T_BASE_CAMERA, depth
            ),
            T_map_base=base_from_camera(T_world_camera),
        )


def _optical_axis(frame: Frame) -> Array:
    """(3,) in the scene; NaN where the pose cannot be read, which is said when it is asked for."""
    try:
        return read_pose(frame.files[2])[:3, 2]
    except DataError:
        return np.full(3, np.nan)


def _scenes(root: Path) -> list[Path]:
    found = scene_folders(root)
    if not found:
        raise DataError(
            f'{root} holds no scene; expected\n{SevenScenes.LAYOUT}(the archive of a scene holds '
            'one more archive for each sequence: unpack those too)'
        )
    return found
