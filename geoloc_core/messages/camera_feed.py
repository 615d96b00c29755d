# SPDX-License-Identifier: Apache-2.0
"""The camera that the newest CameraInfo describes, built anew only when it says something else."""

import threading
from typing import Any

import numpy as np

from geoloc_core.errors import CalibrationError
from geoloc_core.geometry.cameras import AbstractCamera
from geoloc_core.messages.conversions import camera_from_info


class CameraFeed:
    """Listens to one CameraInfo topic. Messages may come from another thread than questions.

    Args:
        rectified: The pictures are rectified: P describes them, without distortion.
        topic: Its name, for people.
    """

    def __init__(self, rectified: bool = False, topic: str = 'camera_info') -> None:
        self._rectified = rectified
        self._topic = topic
        self._key: tuple[Any, ...] = ()
        self._found: AbstractCamera | CalibrationError | None = None
        self._first = threading.Event()

    @property
    def arrived(self) -> bool:
        """Whether a message has come, usable or not."""
        return self._found is not None

    @property
    def newest(self) -> AbstractCamera | None:
        """The camera, or None as long as there is none that can be used."""
        return None if isinstance(self._found, CalibrationError) else self._found

    def take(self, message: Any) -> CalibrationError | None:
        """Takes a CameraInfo of ROS 1 or ROS 2; returns what is wrong with it."""
        key = _key_of(message)
        if key != self._key:
            try:
                self._found = camera_from_info(message, self._rectified)
            except (CalibrationError, ValueError, TypeError) as error:
                self._found = CalibrationError(f'{self._topic} cannot be used: {error}')
            self._key = key
            self._first.set()
        return self._found if isinstance(self._found, CalibrationError) else None

    def camera(self, wait_s: float = 0.0) -> AbstractCamera:
        """The camera.

        Args:
            wait_s: How long the very first message is waited for: it comes with the first image,
                and may be handed over after it.

        Raises:
            CalibrationError: None came yet, or it cannot be used.
        """
        if self._found is None:
            self._first.wait(wait_s)
        found = self._found
        if found is None:
            raise CalibrationError(f'no {self._topic} received yet: images cannot be interpreted')
        if isinstance(found, CalibrationError):
            raise found
        return found


def _key_of(message: Any) -> tuple[Any, ...]:
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
