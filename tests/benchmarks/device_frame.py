# SPDX-License-Identifier: Apache-2.0
"""A frame on its way to a pose, all of it on one torch device but for where things lie.

The host keeps what is small: the map's patch, the tables of the view, the pose at the end. The
frame goes up as uint8, twelve numbers come down. With `on_host` pictures are prepared by OpenCV as
on the robot, and the network's inputs go up instead.
"""

from collections.abc import Callable
from dataclasses import dataclass
import math
import time

import numpy as np
import torch
from torch import Tensor

from geoloc_core.estimation.volume import information_of
from geoloc_core.geometry import angles, se3
from geoloc_core.lever_arm import lever_arm, moved
from geoloc_core.maps.source import AbstractMapSource
from geoloc_core.models.belief import Belief
from geoloc_core.models.device_pictures import DevicePictures
from geoloc_core.models.posterior import posterior, summary
from geoloc_core.preprocess import normalised, patch_frame, PatchFrame, Preprocessor
from geoloc_core.sources.cross_view import CrossViewConfig
from geoloc_core.sources.matcher import search_window, SearchLimits
from geoloc_core.sources.model_matcher import wanted_patch, yaw_bins
from geoloc_core.sources.pipeline_timing import FRAME
from geoloc_core.spec import ModelSpec
from geoloc_core.types import AerialPatch, Array, GroundView, PosePrior

# View, patch, and yaws (K,) or None -> logits (1, K, H, W).
Network = Callable[[Tensor, Tensor, Tensor | None], Tensor]


class Watch:
    """Durations of stages, the device's work included; of the whole frame if `whole`."""

    def __init__(self, device: torch.device, whole: bool = False) -> None:
        self.ms: dict[str, float] = {}
        self._device, self._whole = device, whole
        self._begin = self._last = time.perf_counter()

    def mark(self, stage: str) -> None:
        """Ends a stage. A frame that is timed as a whole is not kept waiting."""
        if self._whole:
            return
        if self._device.type == 'cuda':
            torch.cuda.synchronize()
        now = time.perf_counter()
        self.ms[stage] = 1e3 * (now - self._last)
        self._last = now

    def stop(self) -> None:
        """Ends the frame."""
        if self._whole:
            self.ms['frame_ms'] = 1e3 * (time.perf_counter() - self._begin)


@dataclass(frozen=True)
class FoundPose:
    """(x, y, yaw) of base_link in the map frame, and its covariance (3, 3)."""

    pose: Array
    cov: Array


class DeviceFrame:
    """Frames to poses with one network."""

    def __init__(
        self, spec: ModelSpec, network: Network, device: torch.device | str, on_host: bool = False
    ) -> None:
        """Prepares.

        Args:
            spec: What the network is fed and answers.
            network: That runs on the device.
            device: Of torch.
            on_host: Whether pictures are prepared on the host.
        """
        self.spec, self.network, self.on_host = spec, network, on_host
        self.pictures = DevicePictures(device)
        self._preprocessor = Preprocessor(spec.inputs)

    def run(
        self, view: GroundView, prior: PosePrior, ground: AbstractMapSource, watch: Watch
    ) -> FoundPose:
        """One frame.

        Args:
            view: What the camera saw.
            prior: Where base_link is believed to be.
            ground: The map.
            watch: Told of every stage that ends.
        """
        spec, out, device = self.spec.inputs, self.spec.output, self.pictures
        roll, pitch, _ = se3.rpy_from(prior.T_map_base)
        base = np.array(se3.planar(prior.T_map_base))
        arm = lever_arm(spec, view.T_base_camera, roll, pitch)
        point = moved(base, arm)
        request = wanted_patch(spec, (float(point[0]), float(point[1])))
        patch = ground.patch(FRAME, request.center_xy, request.size_m, request.gsd)
        frame = patch_frame(spec, (*patch.grid.center_xy, float(base[2])))
        watch.mark('map_ms')
        prepare = self._on_host if self.on_host else self._on_device
        seen, aerial = prepare(view, roll, pitch, float(base[2]), patch, frame, watch)
        around = (
            math.pi if spec.turned == 'none' else search_window(prior, SearchLimits()).half_yaw
        )
        # As many as engines of fixed sizes take.
        offsets = yaw_bins(out, around, out.yaw_bins)
        yaws = device.upload('yaws', offsets.astype(np.float32))
        logits = self.network(seen, aerial, yaws if out.yaw_input else None)
        watch.mark('network_ms')
        step = float(offsets[1] - offsets[0])
        closed = abs(step * len(offsets) - 2 * math.pi) < 1e-3
        belief = Belief(logits / out.temperature, out.gsd, yaws, closed)
        cov = _carried(prior.cov[np.ix_([0, 1, 5], [0, 1, 5])], base[2], arm)
        information = information_of(_turned(cov, -frame.turn))
        rate = CrossViewConfig().outlier_rate
        numbers = summary(posterior(belief, frame.local(point), information, rate))
        watch.mark('decode_ms')
        found = numbers[0].cpu().numpy()
        watch.mark('download_ms')
        pose = moved(frame.to_map(found[:3]), -arm)
        cov = _carried(_turned(found[3:].reshape(3, 3), frame.turn), pose[2], -arm)
        watch.stop()
        return FoundPose(pose, cov)

    def _on_device(
        self,
        view: GroundView,
        roll: float,
        pitch: float,
        yaw: float,
        patch: AerialPatch,
        frame: PatchFrame,
        watch: Watch,
    ) -> tuple[Tensor, Tensor]:
        made, device, spec = self._preprocessor, self.pictures, self.spec.inputs
        lookups = made.lookups(view.camera, view.T_base_camera, roll, pitch, yaw)
        cut = made.cut(patch.grid, frame)
        watch.mark('tables_ms')
        device.prepare(lookups)
        image = device.upload('frame', view.image)
        aerial, known = device.upload('patch', patch.image), device.upload('known', patch.mask)
        watch.mark('upload_ms')
        seen = device.view(image, lookups, made.neutral, spec.view)
        inputs = seen, device.patch(aerial, known, cut, spec.patch)
        watch.mark('prepare_ms')
        return inputs

    def _on_host(
        self,
        view: GroundView,
        roll: float,
        pitch: float,
        yaw: float,
        patch: AerialPatch,
        frame: PatchFrame,
        watch: Watch,
    ) -> tuple[Tensor, Tensor]:
        made, device, spec = self._preprocessor, self.pictures, self.spec.inputs
        seen = normalised(*made.view(view, roll, pitch, yaw), spec.view)
        aerial = normalised(*made.patch(patch, frame), spec.patch)
        watch.mark('prepare_ms')
        inputs = device.upload('view', seen), device.upload('patch', aerial)
        watch.mark('upload_ms')
        return inputs


def _turned(cov: Array, turn: float) -> Array:
    """A covariance of (x, y, yaw) in axes that are turned clockwise by `turn`."""
    c, s = math.cos(turn), math.sin(turn)
    R = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    return np.asarray(R @ cov @ R.T)


def _carried(cov: Array, yaw: float, arm: Array) -> Array:
    """A covariance of a pose carried to the end of an arm (forward, left), to first order."""
    c, s = math.cos(yaw), math.sin(yaw)
    A = np.eye(3)
    A[:2, 2] = [-s * arm[0] - c * arm[1], c * arm[0] - s * arm[1]]
    return np.asarray(A @ cov @ A.T)


def apart(one: FoundPose, other: FoundPose) -> tuple[float, float]:
    """How far two poses are from each other, m and degrees."""
    metres = float(np.hypot(*(one.pose[:2] - other.pose[:2])))
    return metres, math.degrees(abs(float(angles.difference(one.pose[2], other.pose[2]))))
