# SPDX-License-Identifier: Apache-2.0
"""SIFT in its Hellinger form ("RootSIFT"): needs neither weights nor torch.

References: Lowe, "Distinctive image features from scale-invariant keypoints", IJCV 2004;
Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval", CVPR
2012, sec. 3.
"""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError
from geoloc_core.features.base import AbstractFeatures, Floats, LocalFeatures, require_rgb

KIND = 'sift'
SIZE = 128


@dataclass(frozen=True)
class SiftConfig:
    """How many features, and how faint.

    Attributes:
        max_features: The strongest are kept.
        contrast_threshold: Of OpenCV: lower finds fainter blobs, as indoor walls need.
        edge_threshold: Of OpenCV: higher lets features lie on edges.
        sigma_px: Blur of the picture that is taken for granted in its first octave.
    """

    max_features: int = 1500
    contrast_threshold: float = 0.02
    edge_threshold: float = 10.0
    sigma_px: float = 1.6

    def __post_init__(self) -> None:
        """Refuses what finds nothing.

        Raises:
            ConfigError: A value is out of its range.
        """
        if self.max_features < 1:
            raise ConfigError(f'max_features is {self.max_features}: expected 1 or more')
        for name in ('contrast_threshold', 'edge_threshold', 'sigma_px'):
            if not getattr(self, name) > 0:
                raise ConfigError(f'{name} is {getattr(self, name)}: expected a positive number')


class SiftFeatures(AbstractFeatures):
    """OpenCV's SIFT. One object serves one thread."""

    kind = KIND
    descriptor_size = SIZE
    scale_invariant = True

    def __init__(
        self, config: SiftConfig | None = None, *, max_features: int | None = None
    ) -> None:
        """Takes its settings; `max_features` stands above those of `config`."""
        self.config = config or SiftConfig()
        if max_features is not None:
            self.config = replace(self.config, max_features=max_features)
        self._sift, self._shift_px = _detector(self.config)

    def detect(self, image: NDArray[np.uint8]) -> LocalFeatures:
        """Finds and describes features; see `AbstractFeatures.detect`."""
        require_rgb(image)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        # Describing the chosen ones alone would build the scale space a second time.
        keypoints, raw = self._sift.detectAndCompute(grey, None)
        if not keypoints:
            return LocalFeatures.none(SIZE)
        place = np.array([each.pt for each in keypoints], np.float32)
        score = np.array([each.response for each in keypoints], np.float32)
        angle = np.array([each.angle for each in keypoints], np.float32)
        # Strongest first; then by place, so that equal strengths give one order on every machine.
        order = np.lexsort((angle, place[:, 0], place[:, 1], -score))
        chosen = order[: self.config.max_features]
        return LocalFeatures(place[chosen] - self._shift_px, root(raw[chosen]), score[chosen])


def root(raw: NDArray) -> Floats:
    """RootSIFT of SIFT: dot products of it are Hellinger kernels of the histograms.

    Args:
        raw: (N, 128), none negative.

    Returns:
        (N, 128) float32, the square roots of shares of the sum, so of unit length; zero rows
        stay zero.
    """
    raw = np.asarray(raw, np.float32)
    total = raw.sum(axis=1, keepdims=True)
    return np.sqrt(raw / np.maximum(total, np.float32(1e-12)))


def _detector(config: SiftConfig) -> tuple[cv2.SIFT, np.float32]:
    """OpenCV's detector, and how far it puts every feature too far right and down, px."""
    contrast, edge, sigma = config.contrast_threshold, config.edge_threshold, config.sigma_px
    # Asked for all of them (0): OpenCV's own choice of the best knows no order among equals.
    try:
        precise = cv2.SIFT.create(0, 3, contrast, edge, sigma, enable_precise_upscale=True)
        return precise, np.float32(0.0)
    except TypeError:
        # Older than 4.8: it doubles the picture and takes pixel corners for centres.
        return cv2.SIFT.create(0, 3, contrast, edge, sigma), np.float32(0.25)
