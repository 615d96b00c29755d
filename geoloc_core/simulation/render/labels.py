# SPDX-License-Identifier: Apache-2.0
"""What a surface is (its label), apart from how it is shaded (its material)."""

from enum import IntEnum

import numpy as np


class Label(IntEnum):
    """Semantic class of a pixel, of a triangle and of a texel of the ground."""

    SKY = 0
    ROAD = 1
    PAVEMENT = 2
    MARKING = 3
    GRASS = 4
    BARE = 5
    BUILDING = 6
    ROOF = 7
    TREE = 8
    VEHICLE = 9
    PERSON = 10
    POLE = 11
    WATER = 12
    INTERIOR = 13


# Colour (14, 3) uint8 of each label in pictures of labels.
LABEL_RGB = np.array(
    [
        (112, 160, 214), (96, 96, 100), (188, 170, 160), (244, 244, 236), (128, 178, 76),
        (176, 146, 104), (158, 120, 116), (196, 84, 66), (44, 112, 52), (40, 62, 168),
        (224, 46, 92), (236, 186, 48), (58, 126, 186), (150, 108, 180),
    ],
    np.uint8,
)  # fmt: skip
