# SPDX-License-Identifier: Apache-2.0
"""A sample -> the arrays that a pose network learns from."""

from dataclasses import dataclass

import numpy as np

from geoloc_core.errors import DataError
from geoloc_core.pose_input import ideal_pose, ideal_view
from geoloc_core.pose_spec import PoseInputSpec
from training.datasets.sample import Sample


@dataclass(frozen=True)
class CameraPosePreparation:
    """Warps each frame to what one network is fed; plugs into `loading.Preparation`.

    Whatever crop augmentation cut out of a picture, colour and depth went through it together, its
    camera says where the principal point has gone, and the pose given here is that of the ideal
    camera which looks at the crop: no label is off.

    Attributes:
        inputs: What the network is fed.
    """

    inputs: PoseInputSpec

    def __call__(self, sample: Sample) -> dict[str, np.ndarray]:
        """The arrays of a sample.

        Returns:
            colour (3, H, W) uint8 and colour_mask (1, H, W) bool; depth (1, H, W) float32 m, NaN
            where unknown; available (2,) bool, whether there is a picture and depth; position
            (3,) float32 m from `center_m` and rotation (3, 3) float32 of the ideal camera.

        Raises:
            DataError: The label is kept back.
        """
        T_map_camera = sample.T_map_camera
        if T_map_camera is None:
            raise DataError(f'{sample.key} has no pose: learning and judging need one')
        ideal = ideal_view(sample.view, self.inputs)
        pose = ideal_pose(T_map_camera, ideal)
        return {
            'colour': np.ascontiguousarray(ideal.image.transpose(2, 0, 1)),
            'colour_mask': ideal.mask[None],
            'depth': ideal.depth[None],
            'available': np.array(ideal.available),
            # Subtracted in double precision: a place may be far from its map's origin.
            'position': (pose[:3, 3] - np.array(self.inputs.center_m)).astype(np.float32),
            'rotation': pose[:3, :3].astype(np.float32),
        }
