# SPDX-License-Identifier: Apache-2.0
"""One image message on its way to a pose: picture, camera, mount, depth, then the localizer.

No ROS here: messages are taken by their fields, so this runs on a bag as well. Whatever happens to
a frame ends in a `FrameReport`; none is forgotten.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
import threading
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import CalibrationError, GeolocError, InputError, MapError
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.localizer import Localizer
from geoloc_core.messages import image_decoding
from geoloc_core.messages.conversions import camera_from_info, check_size, stamp_ns
from geoloc_core.messages.transform_buffer import Mounts
from geoloc_core.types import GroundView, PoseEstimate, Status
from geoloc_ros.inputs import StampGuard

DEPTH_KEPT = 30
INTERNAL_ERROR = 'INTERNAL_ERROR'


@dataclass(frozen=True)
class FrameReport:
    """What became of one image.

    Attributes:
        stamp_ns: Its stamp, unchanged; 0 if it had none.
        status: Name of a `Status`, or INTERNAL_ERROR.
        reasons: Details for people.
        timings_ms: Stage -> duration.
        estimate: The answer, if the localizer was asked.
        view: What the localizer was shown.
    """

    stamp_ns: int
    status: str
    reasons: tuple[str, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict)
    estimate: PoseEstimate | None = None
    view: GroundView | None = None


class FramePipeline:
    """Makes views of image messages and asks the localizer about them.

    `camera_info` and `depth` may be called from other threads than `process`.

    Args:
        params: All parameters.
        localizer: Whom to ask.
        mounts: Where the camera sits.
        guard: Judges stamps.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        localizer: Localizer,
        mounts: Mounts,
        guard: StampGuard,
    ) -> None:
        self._guard = guard
        self._params = params
        self._localizer = localizer
        self._mounts = mounts
        self._info_key: tuple[Any, ...] = ()
        self._camera: AbstractCamera | CalibrationError | None = None
        self._depths: deque[tuple[int, Any]] = deque(maxlen=DEPTH_KEPT)
        self._depth_arrived = threading.Condition()

    def camera_info(self, message: Any) -> CalibrationError | None:
        """Takes a CameraInfo; returns what is wrong with it."""
        key = _info_key(message)
        if key != self._info_key:
            try:
                self._camera = camera_from_info(message, self._params['image.rectified'])
            except (CalibrationError, ValueError, TypeError) as error:
                self._camera = CalibrationError(f'camera_info cannot be used: {error}')
            self._info_key = key
        return self._camera if isinstance(self._camera, CalibrationError) else None

    def depth(self, message: Any) -> None:
        """Takes a depth image; decoded only when a frame wants it.

        Raises:
            InputError: It has no stamp.
        """
        stamp = stamp_ns(message.header.stamp)
        with self._depth_arrived:
            self._depths.append((stamp, message))
            self._depth_arrived.notify_all()

    def clear(self) -> None:
        """Forgets buffered depth (the clock jumped)."""
        with self._depth_arrived:
            self._depths.clear()

    def process(self, message: Any) -> FrameReport:
        """From an image message to the report on it. Raises nothing that geoloc foresees."""
        stamp = 0
        timings: dict[str, float] = {}
        start = time.perf_counter()
        try:
            stamp = stamp_ns(message.header.stamp)
            refusal = self._guard.refusal(stamp)
            if refusal:
                return FrameReport(stamp, Status.BAD_STAMP.name, (refusal,))
            view, notes = self._view(message, stamp)
            timings['decode_ms'] = 1e3 * (time.perf_counter() - start)
        except GeolocError as error:
            return FrameReport(stamp, Status.BAD_INPUT.name, (str(error),), timings)
        start = time.perf_counter()
        try:
            estimate = self._localizer.on_view(view)
        except MapError as error:
            return FrameReport(stamp, Status.NO_MAP.name, (str(error),), timings, view=view)
        except GeolocError as error:
            return FrameReport(stamp, Status.BAD_INPUT.name, (str(error),), timings, view=view)
        timings['localize_ms'] = 1e3 * (time.perf_counter() - start)
        self._guard.accept(stamp)
        answer = estimate if estimate.measurement is None else estimate.measurement
        if estimate.measurement is not None:
            timings |= {f'match/{k}': v for k, v in estimate.measurement.timings_ms.items()}
        reasons = tuple(dict.fromkeys((*answer.reasons, *estimate.reasons, *notes)))
        return FrameReport(stamp, answer.status.name, reasons, timings, estimate, view)

    def _view(self, message: Any, stamp: int) -> tuple[GroundView, tuple[str, ...]]:
        """The view and what is to be said about it.

        Raises:
            InputError: The image cannot be used.
            CalibrationError: Calibration or mount are missing or unusable.
        """
        camera = self._camera
        if camera is None:
            raise CalibrationError('no camera_info received yet: images cannot be interpreted')
        if isinstance(camera, CalibrationError):
            raise camera
        mount = self._mounts.T_base_sensor('camera', str(message.header.frame_id), stamp)
        if hasattr(message, 'format'):
            image = image_decoding.decode_compressed_image(message)
        else:
            image = image_decoding.decode_image(message, self._params['image.use_cv_bridge'])
        check_size('image', image.shape, camera)
        depth, notes = self._depth_of(stamp, camera)
        return GroundView(stamp, image, camera, mount, depth), notes

    def _depth_of(
        self, stamp: int, camera: AbstractCamera
    ) -> tuple[NDArray[np.float32] | None, tuple[str, ...]]:
        """Depth that belongs to an image; without it the frame goes on, and says so."""
        if not self._params['depth.enabled']:
            return None, ()
        slop_ns = self._params['depth.slop_s'] * 1e9

        def nearest() -> tuple[int, Any] | None:
            best = min(self._depths, key=lambda d: abs(d[0] - stamp), default=None)
            return best if best is not None and abs(best[0] - stamp) <= slop_ns else None

        with self._depth_arrived:
            self._depth_arrived.wait_for(
                lambda: nearest() is not None, self._params['depth.wait_s']
            )
            found = nearest()
        if found is None:
            return None, ('no depth within depth.slop_s of the image',)
        try:
            if hasattr(found[1], 'format'):
                depth = image_decoding.decode_compressed_depth(found[1])
            else:
                depth = image_decoding.decode_depth(found[1])
            check_size('depth', depth.shape, camera)
        except InputError as error:
            return None, (f'depth not used: {error}',)
        return depth, ()


def _info_key(message: Any) -> tuple[Any, ...]:
    """What a CameraInfo says, for noticing changes."""
    ros2 = hasattr(message, 'k')
    matrices = [
        np.asarray(getattr(message, name if ros2 else name.upper()), dtype=np.float64).tobytes()
        for name in ('k', 'd', 'r', 'p')
    ]
    roi = message.roi
    return (
        int(message.width),
        int(message.height),
        str(message.distortion_model),
        int(message.binning_x),
        int(message.binning_y),
        int(roi.x_offset),
        int(roi.y_offset),
        *matrices,
    )
