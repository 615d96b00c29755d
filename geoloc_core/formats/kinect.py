# SPDX-License-Identifier: Apache-2.0
"""The Kinects behind 7-Scenes and TUM RGB-D: two cameras, side by side.

The publisher of 7-Scenes (Shotton et al., CVPR 2013) gives the intrinsics of the depth sensor and
none for colour; 525 px is what all use, and the shift between the two is that of another Kinect,
calibrated by LIRIS, which the field's structure-based methods use. The publisher of TUM RGB-D
(Sturm et al., IROS 2012) gives a calibration for each of its three; their driver registers depth.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera

DEPTH_CAMERA = PinholeCamera(640, 480, 585.0, 585.0, 320.0, 240.0)
COLOUR_CAMERA = PinholeCamera(640, 480, 525.0, 525.0, 320.0, 240.0)
# (4, 4) depth sensor's optical frame -> colour camera's, m.
T_COLOUR_DEPTH: NDArray[np.float64] = np.array(
    [
        [9.9996518012567637e-01, 2.6765126468950343e-03, -7.9041012313000904e-03, -0.025558943],
        [-2.7409311281316700e-03, 9.9996302803027592e-01, -8.1504520778013286e-03, 0.00010109636],
        [7.8819942130445332e-03, 8.1718328771890631e-03, 9.9993554558014031e-01, 0.0020318322],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


@dataclass(frozen=True)
class ColourCalibration:
    """How a colour camera stands to its depth sensor.

    Attributes:
        camera: Its projection.
        T_colour_depth: (4, 4) depth sensor -> colour camera, optical frames.
    """

    camera: PinholeCamera
    T_colour_depth: NDArray[np.float64]


CALIBRATIONS = {
    # What the field's structure-based methods use, so its poses are the ones to compare with.
    'liris': ColourCalibration(COLOUR_CAMERA, T_COLOUR_DEPTH),
    # Fitted so that edges of depth lie on edges of colour in redkitchen's first sequence: LIRIS's
    # turn, taken without LIRIS's principal points, shifts depth by some pixels.
    'redkitchen': ColourCalibration(
        PinholeCamera(640, 480, 527.4, 527.4, 320.9, 238.4),
        se3.make(np.eye(3), [-0.0256, 0.0, 0.0]),
    ),
}

# TUM's Kinect by number -> its colour camera; freiburg3 comes undistorted.
TUM_CAMERAS: dict[int, PinholeCamera] = {
    1: PinholeCamera(
        640, 480, 517.306408, 516.469215, 318.643040, 255.313989,
        (0.262383, -0.953104, -0.005358, 0.002628, 1.163314),
    ),
    2: PinholeCamera(
        640, 480, 520.908620, 521.007327, 325.141442, 249.701764,
        (0.231222, -0.784899, -0.003257, -0.000105, 0.917205),
    ),
    3: PinholeCamera(640, 480, 535.4, 539.2, 320.1, 247.6),
}  # fmt: skip
