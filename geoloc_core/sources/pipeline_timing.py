# SPDX-License-Identifier: Apache-2.0
"""How long a bundle takes from a compressed image to a pose, stage by stage, on this machine.

The frame is made up, everything it goes through is the robot's own: the decoder, the source, its
matcher and preprocessing, the engine, the decoder of the volume. Only the map is a raster in
memory instead of files, which cost what `patch` of a real map costs.
"""

from dataclasses import dataclass, field
import math
import time
from types import SimpleNamespace

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import BundleError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import (
    AbstractCamera,
    camera_kind,
    EquirectangularCamera,
    FisheyeCamera,
    PinholeCamera,
)
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.maps.source import AbstractMapSource, MapInfo
from geoloc_core.messages.image_decoding import decode_compressed_image
from geoloc_core.runtime.bundle import ModelBundle
from geoloc_core.runtime.engine_choice import EngineSettings
from geoloc_core.sources.cross_view import CrossViewSource
from geoloc_core.sources.model_matcher import ModelMatcher
from geoloc_core.types import AerialPatch, GroundView, PosePrior, Status

# Stage -> what happens in it, in order.
STAGES = {
    'image_ms': 'JPEG -> picture',
    'patch_ms': 'map -> patch around the prior',
    'view_ms': 'picture -> view as the network wants it',
    'cut_ms': 'patch -> size and direction that the network wants',
    'normalise_ms': 'both -> numbers',
    'engine_ms': 'the network',
    'decode_ms': 'its volume x prior -> pose and covariance',
    'frame_ms': 'all of it',
}
WARM_UP = 3
FRAME = EnuFrame(Datum(49.0, 8.4, 110.0))
_CAMERA_HEIGHT = 1.6
# A camera that looks ahead and a little down: optical axes in base_link's.
_R_BASE_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


@dataclass
class StageTimes:
    """Durations of many frames.

    Attributes:
        engine: What ran the network.
        camera: That took the frame, for people.
        ms: Stage -> duration of each frame.
    """

    engine: str
    camera: str
    ms: dict[str, list[float]] = field(default_factory=dict)

    def percentile(self, stage: str, percent: float) -> float:
        """Of the durations of a stage, ms."""
        return float(np.percentile(self.ms[stage], percent))


def time_pipeline(
    bundle: ModelBundle,
    threads: int = 2,
    repeat: int = 30,
    std_yaw: float = math.radians(5.0),
    engine: EngineSettings | None = None,
) -> StageTimes:
    """Times frames on their way to poses.

    Args:
        bundle: Of a cross-view network.
        threads: Of one inference.
        repeat: Frames, after a few that only warm up.
        std_yaw: How well the prior knows the yaw, rad; networks that take yaws are asked for the
            more of them, the less it does.
        engine: What to run it with; None for onnxruntime on the CPU.

    Raises:
        BundleError: The bundle cannot run, or answers with no numbers.
    """
    drive = MadeUpDrive(bundle.spec.inputs.camera_kinds, std_yaw)
    camera = drive.camera
    matcher = ModelMatcher(bundle, threads=threads, engine=engine)
    for each in matcher.engines:
        each.wait_ready()
    source = CrossViewSource(matcher)
    made = StageTimes('', f'{camera_kind(camera)} {camera.width} x {camera.height}')
    for number in range(WARM_UP + repeat):
        prior = drive.prior(number)
        start = time.perf_counter()
        image = decode_compressed_image(SimpleNamespace(format='jpeg', data=drive.jpeg))
        decoded = time.perf_counter()
        view = GroundView(number, image, camera, drive.T_base_camera)
        found = source.measure(view, prior, FRAME, drive.ground)
        done = time.perf_counter()
        if found.status is not Status.OK:
            raise BundleError(f'{bundle.folder}: no pose: {found.status.name} {found.reasons}')
        if number < WARM_UP:
            continue
        spent = {'image_ms': 1e3 * (decoded - start), **found.timings_ms}
        spent['frame_ms'] = 1e3 * (done - start)
        for stage in STAGES:
            made.ms.setdefault(stage, []).append(spent[stage])
    made.engine = matcher.engines[0].name
    for each in matcher.engines:
        each.close()
    return made


class MadeUpDrive:
    """Frames that look like none, of a robot that moves and turns over a map of the same kind.

    Attributes:
        camera: The most usual one of those that a network is made for.
        T_base_camera: (4, 4) its mount.
        picture: (H, W, 3) uint8 RGB, the same in all frames.
        jpeg: The picture, compressed.
        ground: The map, in memory.
    """

    def __init__(self, kinds: tuple[str, ...], std_yaw: float) -> None:
        """Makes up pictures.

        Args:
            kinds: Of cameras that a network is made for.
            std_yaw: How well the priors know the yaw, rad.
        """
        self.camera = camera = _camera(kinds)
        rng = np.random.default_rng(0)
        self.ground = _Raster(_texture(rng, 1024), Grid((0.0, 0.0), 0.2, 1024, 1024))
        self.picture, self.jpeg = made_up_picture(camera, rng)
        tilted = se3.rotation_from_rpy(0.0, math.radians(12.0), 0.0) @ _R_BASE_OPTICAL
        self.T_base_camera = se3.make(tilted, np.array([0.5, 0.0, _CAMERA_HEIGHT]))
        self._cov = np.diag(np.array([2.0, 2.0, 0.1, 0.01, 0.01, std_yaw]) ** 2)

    def prior(self, number: int) -> PosePrior:
        """Where the robot is believed to be at a frame."""
        # A robot turns and moves: what is cached for one pose alone does not count.
        pose = se3.from_planar(0.1 * number, -0.05 * number, 0.02 * number)
        return PosePrior(number, pose, self._cov)


class _Raster(AbstractMapSource):
    """A map in memory."""

    def __init__(self, image: NDArray[np.uint8], grid: Grid) -> None:
        self._image, self._grid = image, grid

    @property
    def info(self) -> MapInfo:
        """See `AbstractMapSource`."""
        grid = self._grid
        size = (grid.width, grid.height)
        return MapInfo('made up', 'raster', 'ENU', (0, 0, 0, 0), grid.gsd, size)

    def patch(
        self, frame: EnuFrame, center_xy: tuple[float, float], size_m: float, gsd: float
    ) -> AerialPatch:
        """See `AbstractMapSource`."""
        side = round(size_m / gsd)
        grid = Grid((float(center_xy[0]), float(center_xy[1])), gsd, side, side)
        corners = np.array([[0.0, 0.0], [side - 1.0, 0.0], [0.0, side - 1.0]])
        affine = cv2.getAffineTransform(
            corners.astype(np.float32),
            self._grid.uv_from_xy(grid.xy_from_uv(corners)).astype(np.float32),
        )
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        image = cv2.warpAffine(
            self._image, affine, (side, side), flags=flags, borderMode=cv2.BORDER_REFLECT
        )
        return AerialPatch(image.astype(np.uint8, copy=False), np.ones((side, side), bool), grid)


def _camera(kinds: tuple[str, ...]) -> AbstractCamera:
    """The most usual one of those that a network is made for."""
    if 'pinhole' in kinds:
        return PinholeCamera(1280, 720, 700.0, 700.0, 639.5, 359.5)
    if 'equirectangular' in kinds:
        return EquirectangularCamera(1024, 512)
    return FisheyeCamera(1280, 720, 420.0, 420.0, 639.5, 359.5)


def made_up_picture(
    camera: AbstractCamera, rng: np.random.Generator
) -> tuple[NDArray[np.uint8], bytes]:
    """(H, W, 3) RGB of a camera's size that shows blobs, and the same as JPEG."""
    whole = _texture(rng, max(camera.width, camera.height))
    picture = np.ascontiguousarray(whole[: camera.height, : camera.width])
    return picture, _jpeg(picture)


def _texture(rng: np.random.Generator, side: int) -> NDArray[np.uint8]:
    """(side, side, 3): blobs of several sizes."""
    image = np.full((side, side, 3), 110, np.float32)
    for shrink, gain in ((64, 40), (16, 30), (4, 20)):
        small = rng.normal(size=(side // shrink + 1, side // shrink + 1, 3)).astype(np.float32)
        image += gain * cv2.resize(small, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(image, 0, 255).astype(np.uint8)


def _jpeg(image: NDArray[np.uint8]) -> bytes:
    good, coded = cv2.imencode('.jpg', np.ascontiguousarray(image[..., ::-1]))
    if not good:
        raise BundleError('OpenCV cannot write JPEG here: reinstall opencv-python-headless')
    return coded.tobytes()
