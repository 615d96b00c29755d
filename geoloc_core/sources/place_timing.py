# SPDX-License-Identifier: Apache-2.0
"""How long networks of mapped places take from a compressed image to their answer, by stages.

As `pipeline_timing` does for cross-view networks: the frame is made up, all that it goes through
is the robot's own. Depth lies in memory, as it does once a depth camera's image has been read.
"""

from collections.abc import Callable
import time
from types import SimpleNamespace

import numpy as np
from numpy.typing import NDArray

from geoloc_core.descriptor_spec import network_input
from geoloc_core.errors import BundleError
from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.messages.image_decoding import decode_compressed_image
from geoloc_core.runtime.descriptor_bundle import DescriptorBundle
from geoloc_core.runtime.pose_bundle import PoseBundle
from geoloc_core.sources.pipeline_timing import made_up_picture, StageTimes, WARM_UP
from geoloc_core.sources.pose_regressor import PoseRegressor, PoseRegressorConfig
from geoloc_core.types import GroundView

_IMAGE = {'image_ms': 'JPEG -> picture'}
_FRAME = {'frame_ms': 'all of it'}
POSE_STAGES = {
    **_IMAGE,
    'prepare_ms': "picture and depth -> as the network's own camera would take them",
    'network_ms': 'both -> numbers, and the network',
    'pose_ms': "its answer -> base_link's pose and covariance",
    **_FRAME,
}
DESCRIPTOR_STAGES = {
    **_IMAGE,
    'normalise_ms': 'picture -> size and numbers that the network wants',
    'engine_ms': 'the network',
    **_FRAME,
}
CAMERA = PinholeCamera(640, 480, 525.0, 525.0, 319.5, 239.5)
_DEPTH_M = 2.0


def time_pose(bundle: PoseBundle, threads: int = 2, repeat: int = 30) -> StageTimes:
    """Times frames of a depth camera on their way to camera poses; stages: `POSE_STAGES`.

    Args:
        bundle: Of a pose network.
        threads: Of one inference.
        repeat: Frames, after a few that only warm up.

    Raises:
        BundleError: The bundle cannot run.
    """
    # Made-up frames are nowhere: how much the network doubts them is no matter here.
    regressor = PoseRegressor(bundle, PoseRegressorConfig(max_std_m=1e6, threads=threads))
    depth = np.full((CAMERA.height, CAMERA.width), _DEPTH_M, np.float32)

    def answer(image: NDArray[np.uint8], number: int) -> dict[str, float]:
        start = time.perf_counter()
        view = GroundView(number, image, CAMERA, se3.make(np.eye(3), np.zeros(3)), depth=depth)
        found = regressor.localize(view)
        if 'network' not in found.timings_ms:
            raise BundleError(f'{bundle.folder}: no pose: {found.status.name} {found.reasons}')
        spent = {f'{name}_ms': value for name, value in found.timings_ms.items()}
        whole = 1e3 * (time.perf_counter() - start)
        return {**spent, 'pose_ms': whole - sum(spent.values())}

    try:
        return _timed(answer, regressor.engine.name, repeat)
    finally:
        regressor.engine.close()


def time_descriptor(bundle: DescriptorBundle, threads: int = 2, repeat: int = 30) -> StageTimes:
    """Times pictures on their way to descriptors; stages: `DESCRIPTOR_STAGES`.

    Args:
        bundle: Of a descriptor network.
        threads: Of one inference.
        repeat: Frames, after a few that only warm up.

    Raises:
        BundleError: The bundle cannot run.
    """
    bundle.require_single()
    engine, raster = bundle.open_engine(threads), bundle.spec.view

    def answer(image: NDArray[np.uint8], number: int) -> dict[str, float]:
        start = time.perf_counter()
        fed = {raster.name: network_input(image, raster)}
        ready = time.perf_counter()
        engine.run(fed)
        done = time.perf_counter()
        return {'normalise_ms': 1e3 * (ready - start), 'engine_ms': 1e3 * (done - ready)}

    try:
        return _timed(answer, engine.name, repeat)
    finally:
        engine.close()


def _timed(
    answer: Callable[[NDArray[np.uint8], int], dict[str, float]], engine: str, repeat: int
) -> StageTimes:
    """Runs frames through; `answer` takes a picture and its number, and says what it spent."""
    _, jpeg = made_up_picture(CAMERA, np.random.default_rng(0))
    made = StageTimes(engine, f'pinhole {CAMERA.width} x {CAMERA.height}')
    for number in range(WARM_UP + repeat):
        start = time.perf_counter()
        image = decode_compressed_image(SimpleNamespace(format='jpeg', data=jpeg))
        decoded = time.perf_counter()
        spent = {'image_ms': 1e3 * (decoded - start), **answer(image, number)}
        spent['frame_ms'] = 1e3 * (time.perf_counter() - start)
        for stage, value in spent.items():
            if number >= WARM_UP:
                made.ms.setdefault(stage, []).append(value)
    return made
