# SPDX-License-Identifier: Apache-2.0
"""What a cross-view network is fed: the `inputs` part of `spec.ModelSpec`.

`preprocess` makes these inputs of a robot's frames and of training's samples alike.
"""

from dataclasses import dataclass
import math

from geoloc_core.strict_json import require, require_one_of, require_positive

CAMERA_KINDS = ('pinhole', 'fisheye', 'equirectangular')
VIEW_KINDS = ('bev', 'polar', 'camera')
TURNED = ('view', 'patch', 'none')
_MAX_SIDE = 8192


@dataclass(frozen=True)
class RasterSpec:
    """One image input, (1, C, height, width) float32: (rgb / 255 - mean) / std.

    Pixels without content are 0 after normalisation.

    Attributes:
        name: Of the network's input.
        width: px.
        height: px.
        mean: Of R, G, B in 0..1.
        std: The same.
        with_mask: Whether a last channel says where there is content (1) and where not (0).
        planes: Pictures one over the other, three channels each; see `PolarSpec.heights_m`.
    """

    name: str
    width: int
    height: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    with_mask: bool = False
    planes: int = 1

    @property
    def channels(self) -> int:
        """C: 3 a plane, and one for the mask."""
        return 3 * self.planes + int(self.with_mask)


@dataclass(frozen=True)
class BevSpec:
    """Place of a bird's-eye view. One that is turned by the prior's yaw (north-up) is centred.

    Attributes:
        gsd: m/px.
        center_xy: Its middle (forward, left) of base_link, m.
    """

    gsd: float
    center_xy: tuple[float, float]


@dataclass(frozen=True)
class PolarSpec:
    """A view laid on the ground around base_link, by direction and distance; see `PolarGrid`.

    Attributes:
        near_m: Where it begins.
        far_m: Where it ends.
        heights_m: Over the ground, of the planes that the picture is laid on, the ground (0)
            first. What stands on the ground is smeared away from the robot there; on a plane over
            the camera it is what hangs down to the plane that lies right. Both together tell
            walls from paint, and where they stand. Cells of upper planes that the camera does not
            see are 0 after normalisation; the mask is the ground's.
    """

    near_m: float
    far_m: float
    heights_m: tuple[float, ...]


@dataclass(frozen=True)
class CameraSpec:
    """The level camera whose picture a network takes; real pictures are warped to look like its.

    Attributes:
        kind: 'pinhole' or 'equirectangular'.
        focal_px: (fx, fy) of a pinhole, in pixels of the view's size; null for a panorama.
        center_px: (cx, cy), likewise.
        height_m: Over the ground; what the network's own geometry takes for granted.
    """

    kind: str
    focal_px: tuple[float, float] | None
    center_px: tuple[float, float] | None
    height_m: float


@dataclass(frozen=True)
class InputSpec:
    """What a network is fed: one view and one north-up patch around the prior.

    Convention: with `turned` 'view' the view is turned by the prior's yaw: a bird's-eye view lies
    north-up and the middle column of a panorama looks north, if the prior is right. With 'patch'
    the patch is turned instead: its right-hand side (+x) is the prior's heading. Either way the
    network answers with an offset from the prior's yaw. With 'none' it answers with the yaw from
    east, whatever the prior.

    Attributes:
        camera_kinds: Cameras it was trained for.
        view_kind: 'bev' (the view on the ground, seen from above), 'polar' (on the ground too,
            by direction and distance) or 'camera' (a picture).
        view: The view's input.
        bev: Place of the bird's-eye view; null for other kinds, as are the next two.
        polar: Place of the polar view.
        camera: What the picture must look like.
        patch: The aerial patch's input, centred on the prior.
        patch_gsd: m/px of the patch.
        turned: 'view', 'patch' or 'none'.
    """

    camera_kinds: tuple[str, ...]
    view_kind: str
    view: RasterSpec
    bev: BevSpec | None
    polar: PolarSpec | None
    camera: CameraSpec | None
    patch: RasterSpec
    patch_gsd: float
    turned: str

    def __post_init__(self) -> None:
        """Checks what the fields must be.

        Raises:
            BundleError: A value that cannot be.
        """
        unknown = set(self.camera_kinds) - set(CAMERA_KINDS)
        require(
            bool(self.camera_kinds) and not unknown,
            f'camera_kinds {self.camera_kinds} must be some of {CAMERA_KINDS}',
        )
        require_one_of('view_kind', self.view_kind, VIEW_KINDS)
        require_one_of('turned', self.turned, TURNED)
        for kind in VIEW_KINDS:
            require(
                (getattr(self, kind) is not None) == (self.view_kind == kind),
                f'{kind} must be given for view_kind {kind!r}, and only then',
            )
        if self.bev is not None:
            require_positive('bev.gsd', self.bev.gsd)
            require(
                self.turned != 'view' or self.bev.center_xy == (0.0, 0.0),
                "a bird's-eye view that is turned must be centred: bev.center_xy [0, 0]",
            )
        if self.polar is not None:
            self._check_polar(self.polar)
        if self.camera is not None:
            self._check_camera(self.camera)
        planes = 1 if self.polar is None else len(self.polar.heights_m)
        require(
            self.view.planes == planes and self.patch.planes == 1,
            f'view.planes is {self.view.planes} and patch.planes {self.patch.planes}, expected '
            f'{planes} and 1',
        )
        for name in ('view', 'patch'):
            raster: RasterSpec = getattr(self, name)
            for side in (raster.width, raster.height):
                require(1 <= side <= _MAX_SIDE, f'{name} has a side of {side} px')
            for value in raster.std:
                require_positive(f'{name}.std', value)
        # Cut from the middle of a square: an odd rest would shift it by half a pixel.
        require(
            (self.patch.width - self.patch.height) % 2 == 0,
            'width and height of the patch must both be even or both be odd',
        )
        require_positive('patch_gsd', self.patch_gsd)

    def _check_polar(self, polar: PolarSpec) -> None:
        require_positive('polar.near_m', polar.near_m)
        require(
            math.isfinite(polar.far_m) and polar.far_m > polar.near_m,
            f'polar.far_m is {polar.far_m}, expected more than near_m, {polar.near_m}',
        )
        heights = polar.heights_m
        require(
            heights[:1] == (0.0,) and list(heights) == sorted(set(heights)),
            f'polar.heights_m is {list(heights)}, expected the ground, 0, and then heights over '
            'it, rising',
        )

    def _check_camera(self, camera: CameraSpec) -> None:
        require_one_of('camera.kind', camera.kind, ('pinhole', 'equirectangular'))
        require_positive('camera.height_m', camera.height_m)
        pinhole = camera.kind == 'pinhole'
        require(
            (camera.focal_px is not None) == pinhole == (camera.center_px is not None),
            'camera.focal_px and camera.center_px belong to a pinhole, and only to one',
        )
        for value in camera.focal_px or ():
            require_positive('camera.focal_px', value)
        require(
            self.turned != 'view' or camera.kind == 'equirectangular',
            "only a panorama can be turned as a 'view': turn the 'patch' for a pinhole",
        )
