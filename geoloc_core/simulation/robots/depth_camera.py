# SPDX-License-Identifier: Apache-2.0
"""Depth cameras: from exact depth to what a real one reports, with its noise, steps and holes.

Convention: depth is z along the optical axis, m, and NaN where nothing was measured; writers turn
NaN into whatever their format calls invalid.
"""

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import ConfigError, InputError
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.registration import register_depth
from geoloc_core.simulation.render.labels import Label
from geoloc_core.simulation.render.renderer import render
from geoloc_core.simulation.render.scene import Scene

Array = NDArray[np.float64]
Depth = NDArray[np.float32]

# Water and car paint send a pattern anywhere but back.
_GLOSSY = (Label.WATER, Label.VEHICLE)


@dataclass(frozen=True)
class DepthModel:
    """How a depth camera is wrong.

    The standard deviation of the axial noise is floor + growth (z - start)^2, the law measured
    for structured light by Nguyen, Izadi and Lovell (3DIMPVT 2012), whose square term is also that
    of stereo: sigma_z = z^2 sigma_disparity / (f b).

    Attributes:
        min_m: Nearest depth reported, m.
        max_m: Farthest depth reported, m.
        noise_floor_m: Noise at `noise_start_m`, m.
        noise_growth: By how much it grows, m per m^2.
        noise_start_m: Depth from which it grows, m.
        noise_px: Size of the spots within which the noise is alike, px: a pixel of a real camera
            is matched by a window, so neighbours err alike; 0 for white noise.
        baseline_m: From the sensor to the projector (or second eye), m, positive along +x of the
            optical frame, as seen to the right; what the other one cannot see is a shadow on the
            other side of near things. 0 for none.
        disparity_step_px: Disparity is known in such steps, px of this camera; 0 for none.
        grazing_deg: Surfaces seen at more than this angle from their normal give no answer.
        dark: Brightness (0..255) below which a surface may give none, the likelier the darker and
            the farther away.
        glare: Brightness above which a sunlit surface outshines the pattern; 256 for never.
        glossy: Part of the pixels lost on water and cars.
        speckle: Part of the pixels lost anywhere, in spots.
        blocks: Mean number of blocks lost in a frame, as by a dropped packet.
        block_px: (smallest, largest) side of such a block, px.
    """

    min_m: float = 0.5
    max_m: float = 5.0
    noise_floor_m: float = 0.0012
    noise_growth: float = 0.0019
    noise_start_m: float = 0.4
    noise_px: float = 1.5
    baseline_m: float = 0.075
    disparity_step_px: float = 0.125
    grazing_deg: float = 80.0
    dark: float = 24.0
    glare: float = 256.0
    glossy: float = 0.5
    speckle: float = 0.005
    blocks: float = 0.0
    block_px: tuple[int, int] = (8, 48)

    def __post_init__(self) -> None:
        """Checks the range.

        Raises:
            ConfigError: `min_m` and `max_m` are not an increasing pair of distances.
        """
        if not 0 <= self.min_m < self.max_m:
            raise ConfigError(
                f'a depth camera measures from min_m to max_m, got {self.min_m} and {self.max_m}'
            )

    def noise_std(self, z: NDArray) -> NDArray:
        """Standard deviation of depths `z` (any shape), m."""
        return self.noise_floor_m + self.noise_growth * (z - self.noise_start_m) ** 2


DEPTH_MODELS: dict[str, DepthModel] = {
    # Only the range is limited.
    'perfect': DepthModel(
        0.1, 100.0, 0.0, 0.0, baseline_m=0.0, disparity_step_px=0.0, grazing_deg=90.0, dark=0.0,
        glossy=0.0, speckle=0.0,
    ),
    # The first Kinect, as in 7-Scenes and TUM RGB-D; the sun blinds it.
    'structured_light': DepthModel(glare=235.0),
    # A pair of eyes 95 mm apart behind lenses of 420 px, as robots carry outdoors.
    'stereo': DepthModel(
        0.6, 20.0, 0.002, 0.0022, 0.0, 3.0, 0.095, 0.0625, 85.0, 8.0, 256.0, 0.35, 0.02, 0.2,
    ),
}  # fmt: skip


def measure_depth(
    model: DepthModel,
    depth_m: Depth,
    camera: PinholeCamera,
    seed: int,
    *,
    image: NDArray[np.uint8] | None = None,
    labels: NDArray[np.uint8] | None = None,
) -> Depth:
    """What a depth camera reports of a scene.

    Args:
        model: Its faults.
        depth_m: (H, W) exact depth, NaN for the sky.
        camera: The depth camera.
        seed: Of everything random; another one for every frame.
        image: (H, W, 3) uint8 RGB of the same view: dark and sunlit surfaces; none lost if None.
        labels: (H, W) of the same view, a `Label`: glossy surfaces; none lost if None.

    Returns:
        (H, W) float32 m, NaN where it sees nothing.

    Raises:
        InputError: A picture is not of the camera's size.
    """
    shape = (camera.height, camera.width)
    for name, picture in (('depth_m', depth_m), ('image', image), ('labels', labels)):
        if picture is not None and picture.shape[:2] != shape:
            raise InputError(f'{name} is {picture.shape[:2]}, the depth camera sees {shape}')
    rng = np.random.default_rng([seed, 60])
    exact = np.asarray(depth_m, np.float64)
    with np.errstate(invalid='ignore'):
        lost = ~np.isfinite(exact)
        lost |= _grazing(exact, camera) > np.radians(model.grazing_deg)
        lost |= _in_shadow(exact, float(camera.K[0, 0]) * model.baseline_m)
        lost |= _unanswered(rng, model, exact, image, labels)
        noise = _spots(rng, shape, model.noise_px)
        z = exact + model.noise_std(exact) * noise
        z = _in_steps(z, float(camera.K[0, 0]) * model.baseline_m, model.disparity_step_px)
        lost |= ~((z >= model.min_m) & (z <= model.max_m))
    lost |= _dropouts(rng, model, shape)
    return np.where(lost, np.nan, z).astype(np.float32)


@dataclass(frozen=True)
class DepthCamera:
    """A depth camera beside a colour camera.

    Attributes:
        camera: Its own projection.
        model: Its faults.
        T_colour_depth: (4, 4) its optical frame -> that of the colour camera. The same place by
            default; 7-Scenes has them 2.56 cm apart.
        registered: What it reports is carried over to the colour camera's pixels, as TUM RGB-D
            has it; otherwise it stays as measured, as in 7-Scenes.
    """

    camera: PinholeCamera
    model: DepthModel = DEPTH_MODELS['structured_light']
    T_colour_depth: Array = field(default_factory=lambda: np.eye(4))
    registered: bool = False

    def take(self, scene: Scene, T_map_colour: Array, seed: int) -> Depth:
        """Measures a scene from where the depth camera really is.

        Args:
            scene: What there is to see.
            T_map_colour: (4, 4) colour camera's optical frame -> map.
            seed: Of everything random.

        Returns:
            (H, W) m in the depth camera's own pixels, NaN where nothing was measured.
        """
        view = render(scene, self.camera, T_map_colour @ self.T_colour_depth)
        return measure_depth(
            self.model, view.depth_m, self.camera, seed, image=view.image, labels=view.labels
        )

    def report(self, depth_m: Depth, colour_camera: PinholeCamera) -> Depth:
        """What goes out: `depth_m` itself or, if `registered`, as the colour camera sees it."""
        if not self.registered:
            return depth_m
        return register_depth(depth_m, self.camera, colour_camera, self.T_colour_depth)


def _grazing(z: Array, camera: PinholeCamera) -> Array:
    """Angle (H, W) between ray and surface normal, rad; across a depth edge it is large."""
    rays = camera.rays()
    points = rays / rays[..., 2:] * z[..., None]
    across = np.gradient(points, axis=1)
    down = np.gradient(points, axis=0)
    normal = np.cross(across, down)
    length = np.linalg.norm(normal, axis=-1) * np.linalg.norm(rays, axis=-1)
    with np.errstate(divide='ignore', invalid='ignore'):
        cosine = np.abs(np.einsum('hwi,hwi->hw', normal, rays)) / length
    angle = np.arccos(np.clip(cosine, 0, 1))
    # Beside a pixel without depth the normal is unknown: that alone loses nothing.
    return np.asarray(np.where(np.isfinite(angle), angle, 0.0))


def _in_shadow(z: Array, focal_baseline: float) -> NDArray[np.bool_]:
    """Pixels (H, W) that the projector does not light.

    A point at column u lies at u - f b / z for the projector. A nearer thing farther towards the
    projector that lands there first, or beyond, hides it.
    """
    if focal_baseline == 0:
        return np.zeros(z.shape, bool)
    u = np.arange(z.shape[1], dtype=np.float64)
    place = u - np.where(np.isfinite(z), focal_baseline / z, 0.0)
    if focal_baseline < 0:
        return np.asarray(_in_shadow(z[:, ::-1], -focal_baseline)[:, ::-1])
    # The smallest place of all columns to the right.
    first = np.minimum.accumulate(place[:, ::-1], axis=1)[:, ::-1]
    hidden = np.zeros(z.shape, bool)
    hidden[:, :-1] = place[:, :-1] > first[:, 1:]
    return hidden


def _unanswered(
    rng: np.random.Generator,
    model: DepthModel,
    z: Array,
    image: NDArray[np.uint8] | None,
    labels: NDArray[np.uint8] | None,
) -> NDArray[np.bool_]:
    """Pixels (H, W) lost on dark, sunlit or glossy surfaces."""
    # Always drawn, so that what one setting decides does not change another's noise.
    chance = _normal_cdf(_spots(rng, z.shape, 2.0))
    lost = np.zeros(z.shape, bool)
    if image is not None:
        light = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float64)
        if model.dark > 0:
            far = 0.25 + 0.75 * np.clip(z / model.max_m, 0, 1)
            lost |= chance < np.clip(1 - light / model.dark, 0, 1) * far
        lost |= light > model.glare
    if labels is not None:
        lost |= np.isin(labels, _GLOSSY) & (chance < model.glossy)
    return lost


def _in_steps(z: Array, focal_baseline: float, step_px: float) -> Array:
    """Depths whose disparity f b / z is a whole number of steps."""
    if not step_px or not focal_baseline:
        return z
    with np.errstate(divide='ignore', invalid='ignore'):
        steps = np.rint(abs(focal_baseline) / z / step_px)
        return np.asarray(abs(focal_baseline) / (steps * step_px))


def _spots(rng: np.random.Generator, shape: tuple[int, ...], size_px: float) -> Array:
    """Noise (H, W) of zero mean and unit variance, alike within `size_px`."""
    white = rng.standard_normal(shape)
    if size_px <= 0:
        return white
    sigma = size_px / 2
    blurred = cv2.GaussianBlur(white, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    # The filter's own gain on white noise, from its taps: exact, so that the law holds.
    taps = cv2.getGaussianKernel(_kernel_size(sigma), sigma)
    return np.asarray(blurred / float((taps**2).sum()))


def _kernel_size(sigma: float) -> int:
    """Number of taps cv2 chooses for float images."""
    return round(sigma * 8 + 1) | 1


def _normal_cdf(x: Array) -> Array:
    """Evenly distributed numbers (0..1) of normally distributed ones."""
    from scipy.special import ndtr

    return np.asarray(ndtr(x))


def _dropouts(
    rng: np.random.Generator, model: DepthModel, shape: tuple[int, int]
) -> NDArray[np.bool_]:
    """Spots and blocks that are lost without any reason in the scene."""
    lost = _normal_cdf(_spots(rng, shape, 3.0)) < model.speckle
    low, high = model.block_px
    for _ in range(int(rng.poisson(model.blocks))):
        height, width = rng.integers(low, high + 1, 2)
        top, left = rng.integers(0, shape[0]), rng.integers(0, shape[1])
        lost[top : top + height, left : left + width] = True
    return np.asarray(lost)
