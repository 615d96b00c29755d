# SPDX-License-Identifier: Apache-2.0
"""A sample -> the arrays that a cross-view network learns from."""

from dataclasses import dataclass, field

import numpy as np

from geoloc_core.errors import DataError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import camera_kind
from geoloc_core.input_spec import InputSpec
from geoloc_core.lever_arm import lever_arm, moved
from geoloc_core.preprocess import cut_patch, patch_frame, PatchFrame, Preprocessor
from training.datasets.sample import Sample

# Further patches of a sample: VIGOR names three. A place may lie outside some of them, and batches
# want as many of each sample.
OTHERS = 3


@dataclass
class CrossViewPreparation:
    """Cuts and warps each sample to what one network is fed; plugs into `loading.Preparation`.

    The patch is cut around the prior, as a robot's is: a prior that is off moves the truth away
    from the patch's middle. Readers and augmentation (`draw_prior`) say how far it may be off.
    Prior and truth are those of the point that the network can find: base_link, or the camera
    (`geoloc_core.lever_arm`).

    Attributes:
        inputs: What the network is fed.
        extras: Further arrays that a network asks for (`CrossViewModel.EXTRA_INPUTS`).
        other_patches: Also give the sample's further patches, cut around their own middles.
    """

    inputs: InputSpec
    extras: tuple[str, ...] = ()
    other_patches: bool = False
    _preprocessor: Preprocessor = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Prepares the tables."""
        self._preprocessor = Preprocessor(self.inputs)

    def __call__(self, sample: Sample) -> dict[str, np.ndarray]:
        """The arrays of a sample.

        Returns:
            view (3, H, W) uint8 and view_mask (1, H, W) bool; patch (3, h, w) uint8 and patch_mask
            (1, h, w) bool; truth (3,) float32 = x, y (m), yaw offset (rad) in the patch's frame;
            frame (4,) float64 = center x, y (m), turn, prior yaw (rad): `preprocess.PatchFrame`;
            prior_std (3,) float32; and the extras: patch_classes (1, h, w) uint8; others
            (3, 3, h, w) uint8, others_truth (3, 3) float32 and others_valid (3,) bool: samples
            with fewer further patches end with zeros, which are not valid.

        Raises:
            DataError: No patch, prior or pose; a camera that the network is not made for; or more
                than three further patches.
        """
        view, patch, prior = sample.view, sample.patch, sample.prior
        if patch is None or prior is None or sample.T_map_base is None:
            raise DataError(
                f'{sample.key} has no patch, no prior or no pose: cross-view training needs all '
                'three (draw_prior gives a prior)'
            )
        kind = camera_kind(view.camera)
        if kind not in self.inputs.camera_kinds:
            raise DataError(
                f'{sample.key}: taken by a camera of kind {kind}, the network is made for '
                f'{" or ".join(self.inputs.camera_kinds)}'
            )
        arm = lever_arm(self.inputs, view.T_base_camera)
        x, y, prior_yaw = (float(v) for v in moved(se3.planar(prior.T_map_base), arm))
        frame = patch_frame(self.inputs, (x, y, prior_yaw))
        pose = moved(se3.planar(sample.T_map_base), arm)
        image, mask = self._preprocessor.view(view, 0.0, 0.0, prior_yaw)
        aerial, known = self._preprocessor.patch(patch, frame)
        variance = prior.cov.diagonal()[[0, 1, 5]]
        arrays = {
            'view': _channels_first(image),
            'view_mask': mask[None],
            'patch': _channels_first(aerial),
            'patch_mask': known[None],
            'truth': frame.local(pose).astype(np.float32),
            'frame': np.array([*frame.center_xy, frame.turn, frame.prior_yaw]),
            'prior_std': np.sqrt(variance).astype(np.float32),
        }
        if 'patch_classes' in self.extras:
            arrays['patch_classes'] = self._classes(sample, frame)
        if self.other_patches:
            arrays.update(self._others(sample, pose, prior_yaw))
        return arrays

    def _classes(self, sample: Sample, frame: PatchFrame) -> np.ndarray:
        """The semantic mask like the patch; all 0 where there is none."""
        spec = self.inputs.patch
        if sample.patch_classes is None or sample.patch is None:
            return np.zeros((1, spec.height, spec.width), np.uint8)
        # Presence of a class is what counts: one that covers part of a pixel covers it.
        marked = np.where(sample.patch_classes > 0, 255, 0).astype(np.uint8)
        as_patch = type(sample.patch)(
            np.repeat(marked[..., None], 3, axis=-1), sample.patch.mask, sample.patch.grid
        )
        image, _ = cut_patch(as_patch, frame, self.inputs.patch_gsd, (spec.width, spec.height))
        return (image[None, ..., 0] >= 128).astype(np.uint8)

    def _others(self, sample: Sample, pose: np.ndarray, yaw: float) -> dict[str, np.ndarray]:
        count = len(sample.other_patches)
        if count > OTHERS:
            raise DataError(
                f'{sample.key} has {count} further patches: a batch has room for {OTHERS} a sample'
            )
        spec = self.inputs.patch
        images = np.zeros((OTHERS, 3, spec.height, spec.width), np.uint8)
        truths = np.zeros((OTHERS, 3), np.float32)
        for k, other in enumerate(sample.other_patches):
            frame = patch_frame(self.inputs, (*other.grid.center_xy, yaw))
            image, _ = self._preprocessor.patch(other, frame)
            images[k] = _channels_first(image)
            truths[k] = frame.local(pose)
        valid = np.arange(OTHERS) < count
        return {'others': images, 'others_truth': truths, 'others_valid': valid}


def _channels_first(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(2, 0, 1))
