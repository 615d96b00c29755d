# SPDX-License-Identifier: Apache-2.0
"""Depth images on their way to the colour image they belong to.

A depth image is kept as it came and looked at only when an image asks for it: the nearest stamp
within a tolerance is decoded, laid over the colour camera where the driver did not do that, and
handed over. Where there is none the image goes on alone, and why is said. Depth that stops costs
the images no waiting; when it speaks again it is used again.

Convention: depth is z along the optical axis of its camera, m, NaN where nothing was measured.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import CalibrationError, InputError
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.geometry.registration import register_depth
from geoloc_core.messages import image_decoding
from geoloc_core.messages.camera_feed import CameraFeed
from geoloc_core.messages.conversions import check_size, stamp_ns

Array = NDArray[np.float64]
Depth = NDArray[np.float32]

REGISTERED_BY = ('auto', 'driver', 'geoloc')

# Depth that has not spoken for so long is not waited for.
SILENT_S = 2.0
# Stamps that go back further than this are another recording: what is kept is of no use.
_REPLAY_NS = 1_000_000_000
_KEPT = 30


@dataclass(frozen=True)
class DepthSettings:
    """How depth joins the images.

    Attributes:
        slop_s: Largest difference between the stamps of an image and its depth, s.
        wait_s: How long an image waits for its depth, s.
        unit_m: Metres of one count of 16UC1.
        min_coverage: Depth that fills less of the image is not used, 0..1.
        registered_by: Who lays depth over the image: the 'driver', 'geoloc', or 'auto' as the
            frames of both messages and a CameraInfo of the depth's own tell.
        rectified: The depth images are rectified: P of their own CameraInfo describes them.
    """

    slop_s: float = 0.02
    wait_s: float = 0.05
    unit_m: float = 0.001
    min_coverage: float = 0.01
    registered_by: str = 'auto'
    rectified: bool = False


@dataclass(frozen=True)
class DepthAnswer:
    """Depth for one image, or why there is none.

    Attributes:
        depth: (H, W) float32 m of the colour camera, NaN where invalid, or None.
        note: Why it is None; '' otherwise.
        coverage: Share of the image that has depth, 0..1; 0 without.
    """

    depth: Depth | None
    note: str = ''
    coverage: float = 0.0


class DepthStream:
    """Keeps the newest depth images and gives each colour image its own. Safe between threads.

    Args:
        settings: How.
        T_colour_depth: (colour frame, depth frame, stamp in ns) -> (4, 4) depth optical frame ->
            colour optical frame; raises `CalibrationError` where it is not known.
        say: Told when depth comes and when it goes.

    Attributes:
        info: The depth camera's own calibration; may stay without a message.
        counts: 'used', 'none' (no depth of that time) and 'refused' (it could not be used).
        last: The newest answer, or None before the first.
    """

    def __init__(
        self,
        settings: DepthSettings,
        T_colour_depth: Callable[[str, str, int], Array],
        say: Callable[[str], None] = lambda text: None,
    ) -> None:
        self.settings = settings
        self.info = CameraFeed(settings.rectified, 'depth/camera_info')
        self.counts: Counter[str] = Counter()
        self.last: DepthAnswer | None = None
        self._T_colour_depth = T_colour_depth
        self._say = say
        self._kept: deque[tuple[int, Any]] = deque(maxlen=_KEPT)
        self._arrived = threading.Condition()
        self._newest_ns: int | None = None

    def add(self, message: Any) -> None:
        """Takes a depth Image or CompressedImage.

        Raises:
            InputError: It has no stamp.
        """
        stamp = stamp_ns(message.header.stamp)
        with self._arrived:
            if self._newest_ns is not None and stamp < self._newest_ns - _REPLAY_NS:
                self._kept.clear()
            self._kept.append((stamp, message))
            self._newest_ns = stamp
            self._arrived.notify_all()

    def clear(self) -> None:
        """Forgets what is kept (the clock jumped)."""
        with self._arrived:
            self._kept.clear()
            self._newest_ns = None

    def for_image(self, stamp: int, camera: AbstractCamera, frame_id: str) -> DepthAnswer:
        """The depth of an image, waiting for it a little if it is still to come.

        Args:
            stamp: Of the image, ns.
            camera: Of the image.
            frame_id: Optical frame of the image.
        """
        found, note = self._nearest(stamp)
        if found is None:
            answer, kind = DepthAnswer(None, note), 'none'
        else:
            try:
                answer, kind = self._laid_over(found, camera, frame_id), 'used'
            except (InputError, CalibrationError) as error:
                answer, kind = DepthAnswer(None, f'depth not used: {error}'), 'refused'
        self.counts[kind] += 1
        had = None if self.last is None else self.last.depth is not None
        self.last = answer
        if answer.depth is None and had is not False:
            self._say(f'images go on without depth: {answer.note}')
        elif answer.depth is not None and had is False:
            self._say('images have depth')
        return answer

    def _nearest(self, stamp: int) -> tuple[Any | None, str]:
        slop = int(self.settings.slop_s * 1e9)

        def best() -> tuple[int, Any] | None:
            return min(self._kept, key=lambda kept: abs(kept[0] - stamp), default=None)

        def decided() -> bool:
            near = best()
            # Depth that is later by more than the slop: the one of this image will not come.
            return near is not None and (
                abs(near[0] - stamp) <= slop or self._kept[-1][0] > stamp + slop
            )

        with self._arrived:
            newest = self._newest_ns
            # By stamps, not by the wall clock: a bag read slowly must not look like a dead sensor.
            silent_s = float('inf') if newest is None else (stamp - newest) / 1e9
            if silent_s < SILENT_S:
                self._arrived.wait_for(decided, self.settings.wait_s)
            near = best()
            # Images are worked on in their order: what lies before this one is of no more use.
            while len(self._kept) > 1 and self._kept[0][0] < stamp - slop:
                self._kept.popleft()
        if near is None:
            return None, 'no depth received yet'
        apart = near[0] - stamp
        if abs(apart) <= slop:
            return near[1], ''
        if silent_s >= SILENT_S:
            return None, f'depth is silent for {silent_s:.0f} s'
        return None, (
            'no depth within depth.slop_s of the image: the nearest is '
            f'{abs(apart) / 1e6:.1f} ms {"after" if apart > 0 else "before"} it'
        )

    def _laid_over(self, message: Any, camera: AbstractCamera, frame_id: str) -> DepthAnswer:
        """Decodes depth and lays it over the colour camera.

        Raises:
            InputError: The message is damaged, of another size, or says nothing.
            CalibrationError: How the two cameras stand to each other is not known.
        """
        if hasattr(message, 'format'):
            depth = image_decoding.decode_compressed_depth(message, self.settings.unit_m)
        else:
            depth = image_decoding.decode_depth(message, self.settings.unit_m)
        measured = bool(np.isfinite(depth).any())
        own_frame = str(message.header.frame_id).lstrip('/')
        depth = self._registered(depth, own_frame, camera, frame_id.lstrip('/'), message)
        if not measured:
            raise InputError('not one of its pixels holds a distance')
        coverage = float(np.isfinite(depth).mean())
        if coverage < self.settings.min_coverage:
            raise InputError(
                f'it covers {100 * coverage:.2g} % of the image < '
                f'{100 * self.settings.min_coverage:.2g} % (depth.min_coverage)'
            )
        return DepthAnswer(depth, '', coverage)

    def _registered(
        self, depth: Depth, own_frame: str, camera: AbstractCamera, frame_id: str, message: Any
    ) -> Depth:
        by = self.settings.registered_by
        same_frame = own_frame == frame_id or not own_frame
        same_size = depth.shape == (camera.height, camera.width)
        if by == 'driver' or (by == 'auto' and same_frame and same_size):
            check_size('depth', depth.shape, camera)
            return depth
        if not self.info.arrived:
            if not same_size:
                check_size('depth', depth.shape, camera)
            raise CalibrationError(
                f'it is in frame {own_frame!r}, the image in {frame_id!r}, and depth/camera_info '
                'has not been received: publish it, or set depth.registered_by to driver where '
                'the driver lays depth over the image'
            )
        own = self.info.camera()
        if depth.shape != (own.height, own.width):
            raise InputError(
                f'depth is {depth.shape[1]} x {depth.shape[0]}, depth/camera_info is for '
                f'{own.width} x {own.height}'
            )
        stamp = stamp_ns(message.header.stamp)
        # In the image's own frame there is nothing to ask: another size, the same place.
        given = by == 'auto' and same_frame
        T = np.eye(4) if given else self._T_colour_depth(frame_id, own_frame, stamp)
        return register_depth(depth, own, camera, T)
