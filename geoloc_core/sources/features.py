# SPDX-License-Identifier: Apache-2.0
"""Channels in which the ground looks alike to a camera on a robot and to one in the sky.

Colour and exposure differ between the two; what remains is local structure: brightness against
its neighbourhood, and its gradient. Both are computed per square metre of ground, not per pixel,
so the same numbers serve every ground sampling distance.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

CHANNELS = 3  # contrast, gradient along x, gradient along y
_GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32).reshape(1, 3)


@dataclass(frozen=True)
class FeatureConfig:
    """How structure is measured.

    Attributes:
        contrast_radius_m: Standard deviation of the neighbourhood that brightness is compared
            with, m.
        smoothing_m: Standard deviation of the blur before anything else, m; 0 for none.
        noise_floor: Contrast (grey levels, 0..255) that is treated as noise: flat asphalt must
            not be blown up to full contrast.
        clip: Normalised contrast beyond which a pixel counts no more than this (glare, paint).
        gradient_gain: Weight of the gradient channels against the contrast channel; 0 for none.
    """

    contrast_radius_m: float = 0.8
    smoothing_m: float = 0.05
    noise_floor: float = 6.0
    clip: float = 2.5
    gradient_gain: float = 1.5


def masked_blur(
    image: NDArray[np.float32], mask: NDArray[np.float32], sigma_px: float
) -> NDArray[np.float32]:
    """Gaussian blur that does not let the outside of the mask bleed in.

    Args:
        image: (H, W) values, 0 outside the mask.
        mask: (H, W) weights, 0..1.
        sigma_px: Standard deviation, px.

    Returns:
        (H, W) the mean of the values inside the mask; 0 where none are near.
    """
    weight = cv2.GaussianBlur(mask, (0, 0), sigma_px)
    blurred = cv2.GaussianBlur(image * mask, (0, 0), sigma_px)
    return np.divide(blurred, weight, out=np.zeros_like(blurred), where=weight > 1e-3)


def ground_features(
    image: NDArray, mask: NDArray[np.bool_], gsd: float, config: FeatureConfig
) -> NDArray[np.float32]:
    """Structure channels of a raster that lies on the ground.

    Convention: gradients are in metric axes, +x along u, +y against v.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) bool, True where the raster has content.
        gsd: m/px.
        config: How structure is measured.

    Returns:
        (H, W, 3) float32: contrast, gradient along x, gradient along y; 0 outside the mask.
    """
    inside = mask.astype(np.float32)
    grey = cv2.transform(image, _GREY).astype(np.float32)
    if config.smoothing_m / gsd > 0.3:
        grey = masked_blur(grey, inside, config.smoothing_m / gsd)
    sigma_px = config.contrast_radius_m / gsd
    residual = (grey - masked_blur(grey, inside, sigma_px)) * inside
    variance = masked_blur(residual * residual, inside, sigma_px)
    contrast = residual / np.sqrt(variance + np.float32(config.noise_floor**2))
    np.clip(contrast, -config.clip, config.clip, out=contrast)
    features = np.empty((*mask.shape, CHANNELS), np.float32)
    features[..., 0] = contrast
    # Scharr divided by its gain is the slope per px; per px it is comparable with the contrast.
    gain = config.gradient_gain / 32.0
    # A pixel at the mask's edge has no gradient: the step to "nothing" is not on the ground.
    inner = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=0)
    features[..., 1] = cv2.Scharr(contrast, cv2.CV_32F, 1, 0, scale=gain) * inner
    features[..., 2] = cv2.Scharr(contrast, cv2.CV_32F, 0, 1, scale=-gain) * inner
    return features
