# SPDX-License-Identifier: Apache-2.0
"""What every camera model offers: points to pixels, and pixels to rays."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from geoloc_core.errors import CalibrationError

Floats = NDArray[np.floating]
FocalCameraType = TypeVar('FocalCameraType', bound='FocalCamera')


@dataclass(frozen=True)
class AbstractCamera(ABC):
    """A camera of fixed image size. Cameras are values: equal when their numbers are equal.

    Convention: optical frame, z forward, x right, y down; pixel (u, v), u right, v down, integer
    coordinates are pixel centres, so the image spans [-0.5, width - 0.5] x [-0.5, height - 0.5].

    Attributes:
        width: Columns of the image.
        height: Rows of the image.
    """

    width: int
    height: int

    def __post_init__(self) -> None:
        """Refuses impossible parameters.

        Raises:
            CalibrationError: A parameter is not finite or makes no image.
        """
        if self.width < 1 or self.height < 1:
            raise CalibrationError(
                f'image size {self.width} x {self.height} has no pixels: fill in width and '
                'height of the calibration'
            )

    @property
    def wraps(self) -> bool:
        """Whether the left and the right edge of the image are neighbours."""
        return False

    def project(self, points: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Pixels of points.

        Args:
            points: (N, 3) m, optical frame.

        Returns:
            uv (N, 2), NaN where the model has no answer (behind the camera, past the fold of the
            distortion); and valid (N,), True where the pixel exists and lies inside the image.
        """
        points = np.asarray(points, dtype=np.float64)
        u, v, valid = self.project_xyz(points[..., 0], points[..., 1], points[..., 2])
        return np.stack([u, v], axis=-1), valid

    def project_xyz(
        self, x: Floats, y: Floats, z: Floats
    ) -> tuple[Floats, Floats, NDArray[np.bool_]]:
        """`project` on three arrays of one shape; float32 stays float32, for speed."""
        u, v = self._project(x, y, z)
        # A comparison with NaN is False, so undefined pixels are invalid.
        valid = (u >= -0.5) & (u <= self.width - 0.5) & (v >= -0.5) & (v <= self.height - 0.5)
        return u, v, valid

    @abstractmethod
    def _project(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Pixel coordinates, NaN where there are none; inside the image or not."""

    @abstractmethod
    def unproject(self, uv: ArrayLike) -> NDArray[np.float64]:
        """Unit rays of pixels.

        Args:
            uv: (N, 2) px.

        Returns:
            (N, 3) unit vectors, optical frame; NaN where the model has no answer.
        """

    @abstractmethod
    def resized(self, width: int, height: int) -> 'AbstractCamera':
        """The camera of the same image resized; pixel edges stay: u' = (u + 0.5) s - 0.5."""

    def rays(self) -> NDArray[np.float64]:
        """Unit rays (height, width, 3) of all pixel centres, optical frame, or NaN."""
        v, u = np.mgrid[0 : self.height, 0 : self.width]
        uv = np.stack([u, v], axis=-1).reshape(-1, 2)
        return self.unproject(uv).reshape(self.height, self.width, 3)


@dataclass(frozen=True)
class FocalCamera(AbstractCamera):
    """A camera with focal lengths and a principal point.

    Attributes:
        fx: Horizontal focal length, px.
        fy: Vertical focal length, px.
        cx: Column of the principal point.
        cy: Row of the principal point.
        distortion: Coefficients in ROS order; empty means none.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    distortion: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        """Refuses impossible parameters.

        Raises:
            CalibrationError: A parameter is not finite, or a focal length is not positive.
        """
        super().__post_init__()
        numbers = (self.fx, self.fy, self.cx, self.cy, *self.distortion)
        if not np.all(np.isfinite(numbers)):
            raise CalibrationError(f'calibration holds NaN or infinity: {numbers}')
        if not (self.fx > 0 and self.fy > 0):
            raise CalibrationError(
                f'focal lengths fx = {self.fx}, fy = {self.fy} must be positive: is the camera '
                'calibrated? (an all-zero K means it is not)'
            )

    @property
    def K(self) -> NDArray[np.float64]:
        """The matrix (3, 3) from undistorted rays (x/z, y/z, 1) to pixels."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def resized(self: FocalCameraType, width: int, height: int) -> FocalCameraType:
        """The camera of the same image resized; pixel edges stay: u' = (u + 0.5) s - 0.5."""
        sx, sy = width / self.width, height / self.height
        return replace(
            self,
            width=width,
            height=height,
            fx=self.fx * sx,
            fy=self.fy * sy,
            cx=(self.cx + 0.5) * sx - 0.5,
            cy=(self.cy + 0.5) * sy - 0.5,
        )


def invert_monotone(target: Floats, inputs: Floats, outputs: Floats) -> NDArray[np.float64]:
    """First guess of f^-1(target) from a table of an increasing f; NaN past the table's end."""
    return np.interp(target, outputs, inputs, right=np.nan)


def first_positive_root(coefficients: ArrayLike, within: float) -> float:
    """Smallest root of a polynomial in (0, within]; infinite if there is none.

    Args:
        coefficients: Lowest power first; the constant term is about 1.
        within: Only roots up to here matter.
    """
    # In units of `within` every coefficient says what its term can contribute; vanishing leading
    # terms are dropped, because the root finder divides by the first.
    scaled = np.asarray(coefficients, dtype=np.float64)
    scaled = scaled * within ** np.arange(scaled.size)
    relevant = np.flatnonzero(np.abs(scaled) > 1e-12)
    roots = np.roots(scaled[: relevant[-1] + 1][::-1]) if relevant.size else np.empty(0)
    real = roots.real[np.abs(roots.imag) <= 1e-9 * np.abs(roots)]
    hits = real[(real > 0) & (real <= 1)]
    return float(hits.min() * within) if hits.size else float('inf')
