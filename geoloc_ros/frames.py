# SPDX-License-Identifier: Apache-2.0
"""One image message on its way to a pose: picture, camera, mount, depth, then the localizer.

No ROS here: messages are taken by their fields, so this runs on a bag as well. Whatever happens to
a frame ends in a `FrameReport`; none is forgotten.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
import time
from typing import Any

from geoloc_core.errors import GeolocError, MapError
from geoloc_core.localizer import Localizer
from geoloc_core.messages import image_decoding
from geoloc_core.messages.camera_feed import CameraFeed
from geoloc_core.messages.conversions import check_size, stamp_ns
from geoloc_core.messages.depth_stream import DepthAnswer, DepthStream
from geoloc_core.messages.transform_buffer import Mounts
from geoloc_core.types import GroundView, PoseEstimate, Status
from geoloc_ros.assembly import depth_settings
from geoloc_ros.inputs import StampGuard

INTERNAL_ERROR = 'INTERNAL_ERROR'
# The first image waits this long for the camera_info that was published with it.
FIRST_INFO_S = 0.3


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
        depth: 'off', 'used' or 'none': what became of the frame's depth.
    """

    stamp_ns: int
    status: str
    reasons: tuple[str, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict)
    estimate: PoseEstimate | None = None
    view: GroundView | None = None
    depth: str = 'off'


class FramePipeline:
    """Makes views of image messages and asks the localizer about them.

    `camera_info` and `depth` may be fed from other threads than `process` runs on.

    Args:
        params: All parameters.
        localizer: Whom to ask.
        mounts: Where the camera sits.
        guard: Judges stamps.
        say: Told when depth comes and when it goes.

    Attributes:
        camera_info: The camera's calibration.
        depth: Depth images; None where they are not wanted.
    """

    def __init__(
        self,
        params: Mapping[str, Any],
        localizer: Localizer,
        mounts: Mounts,
        guard: StampGuard,
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self._guard = guard
        self._params = params
        self._localizer = localizer
        self._mounts = mounts
        self.camera_info = CameraFeed(params['image.rectified'])
        self.depth: DepthStream | None = None
        if params['depth.enabled']:
            self.depth = DepthStream(depth_settings(params), mounts.T_camera_depth, say)

    def clear(self) -> None:
        """Forgets buffered depth (the clock jumped)."""
        if self.depth is not None:
            self.depth.clear()

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
            view = self._view(message, stamp)
            timings['decode_ms'] = 1e3 * (time.perf_counter() - start)
            view, answer = self._with_depth(view, message, timings)
        except GeolocError as error:
            return FrameReport(stamp, Status.BAD_INPUT.name, (str(error),), timings)
        depth, notes = _told(answer)
        start = time.perf_counter()
        try:
            estimate = self._localizer.on_view(view)
        except GeolocError as error:
            status = Status.NO_MAP if isinstance(error, MapError) else Status.BAD_INPUT
            reasons = (str(error), *notes)
            return FrameReport(stamp, status.name, reasons, timings, view=view, depth=depth)
        timings['localize_ms'] = 1e3 * (time.perf_counter() - start)
        self._guard.accept(stamp)
        said = estimate if estimate.measurement is None else estimate.measurement
        if estimate.measurement is not None:
            timings |= {f'match/{k}': v for k, v in estimate.measurement.timings_ms.items()}
        reasons = tuple(dict.fromkeys((*said.reasons, *estimate.reasons, *notes)))
        return FrameReport(stamp, said.status.name, reasons, timings, estimate, view, depth)

    def _view(self, message: Any, stamp: int) -> GroundView:
        """The view without depth.

        Raises:
            InputError: The image cannot be used.
            CalibrationError: Calibration or mount are missing or unusable.
        """
        camera = self.camera_info.camera(FIRST_INFO_S)
        mount = self._mounts.T_base_sensor('camera', str(message.header.frame_id), stamp)
        if hasattr(message, 'format'):
            image = image_decoding.decode_compressed_image(message)
        else:
            image = image_decoding.decode_image(message, self._params['image.use_cv_bridge'])
        check_size('image', image.shape, camera)
        return GroundView(stamp, image, camera, mount)

    def _with_depth(
        self, view: GroundView, message: Any, timings: dict[str, float]
    ) -> tuple[GroundView, DepthAnswer | None]:
        """The view with the depth that belongs to it; without one the frame goes on."""
        if self.depth is None:
            return view, None
        start = time.perf_counter()
        answer = self.depth.for_image(view.stamp_ns, view.camera, str(message.header.frame_id))
        timings['depth_ms'] = 1e3 * (time.perf_counter() - start)
        return replace(view, depth=answer.depth), answer


def _told(answer: DepthAnswer | None) -> tuple[str, tuple[str, ...]]:
    """Word for the report, and notes for people."""
    if answer is None:
        return 'off', ()
    return ('none', (answer.note,)) if answer.depth is None else ('used', ())
