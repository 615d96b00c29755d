# SPDX-License-Identifier: Apache-2.0
"""The Kinect behind 7-Scenes (Shotton et al., CVPR 2013): two cameras, side by side.

The publisher gives the intrinsics of the depth sensor and none for colour; 525 px is what all
use, and the shift between the two is that of another Kinect, calibrated by LIRIS, which the
field's structure-based methods use.
"""

import numpy as np
from numpy.typing import NDArray

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
