# SPDX-License-Identifier: Apache-2.0
"""Lists of camera poses, a line a picture: `name qw qx qy qz tx ty tz [f]`.

The second ground truth of 7-Scenes, and the estimates that methods publish beside it, come in this
form (Brachmann et al., "On the limits of pseudo ground truth in visual camera re-localisation",
ICCV 2021).

Convention: in the file poses are WORLD TO CAMERA, so that (tx, ty, tz) is not where the camera is;
here they are camera to world. f is the focal length of the picture in px, in ground truth only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError, InputError
from geoloc_core.geometry import se3

Array = NDArray[np.float64]

_HEAD = '# name qw qx qy qz tx ty tz, world to camera'


@dataclass(frozen=True, eq=False)
class ListedPose:
    """One line.

    Attributes:
        T_world_camera: (4, 4).
        focal_px: Of the picture; None where the list has none.
    """

    T_world_camera: Array
    focal_px: float | None = None


def read_pose_list(path: str | Path) -> dict[str, ListedPose]:
    """Name of the picture -> its pose, in the order of the file.

    Raises:
        DataError: The file is absent or empty, a line is something else, or names a picture again.
    """
    file = Path(path)
    if not file.is_file():
        raise DataError(f'no list of poses {file}')
    found: dict[str, ListedPose] = {}
    for row, line in enumerate(file.read_text(encoding='utf-8-sig').splitlines(), start=1):
        words = line.partition('#')[0].split()
        if not words:
            continue
        try:
            numbers = np.array([float(word) for word in words[1:]])
            if len(numbers) not in (7, 8) or not np.isfinite(numbers).all():
                raise ValueError(line)
            w, x, y, z = numbers[:4]
            T_camera_world = se3.from_quaternion(numbers[4:7], (x, y, z, w))
        except (ValueError, InputError) as error:
            raise DataError(
                f'{file}:{row} is {line!r}; expected "name qw qx qy qz tx ty tz [f]"'
            ) from error
        if words[0] in found:
            raise DataError(f'{file}:{row} names {words[0]} a second time')
        focal = float(numbers[7]) if len(numbers) == 8 else None
        found[words[0]] = ListedPose(se3.inverse(T_camera_world), focal)
    if not found:
        raise DataError(f'{file} lists no pose')
    return found


def write_pose_list(path: str | Path, poses: Mapping[str, Array]) -> None:
    """Writes T_world_camera (4, 4) by the names of pictures; one without a pose has no line."""
    lines = [_HEAD]
    for name, T_world_camera in poses.items():
        T = se3.inverse(T_world_camera)
        x, y, z, w = se3.quaternion_xyzw(T[:3, :3])
        lines.append(' '.join([name, *(f'{value:.9f}' for value in (w, x, y, z, *T[:3, 3]))]))
    Path(path).write_text('\n'.join(lines) + '\n', encoding='utf-8')
