# SPDX-License-Identifier: Apache-2.0
"""What a month of the northern half does to leaves and grass."""

import numpy as np

# Months from New Year, 0..12; the year's ends are one point.
_LEAF = ((0.0, 3.3, 4.8, 9.3, 10.8, 12.0), (0.12, 0.12, 1.0, 1.0, 0.12, 0.12))
# Factors on the colours of July: straw in winter, fresh in May, yellow in autumn.
_MONTHS = (0.0, 2.5, 3.8, 4.8, 6.0, 7.0, 8.4, 9.4, 10.2, 11.0, 12.0)
_RGB = np.array(
    [
        (1.18, 0.92, 0.98), (1.20, 0.95, 0.98), (1.02, 1.04, 0.82), (0.96, 1.16, 0.76),
        (1.0, 1.0, 1.0), (1.0, 1.0, 1.0), (1.06, 1.0, 0.90), (1.26, 1.02, 0.70),
        (1.36, 0.96, 0.66), (1.24, 0.92, 0.84), (1.18, 0.92, 0.98),
    ]
)  # fmt: skip


def leaf_of_month(month: float) -> float:
    """How full crowns are, 0..1; never quite 0, as some trees keep their needles."""
    return float(np.interp(month % 12, *_LEAF))


def vegetation_of_month(month: float) -> tuple[float, float, float]:
    """Factors on red, green and blue of grass and leaves; ones at midsummer."""
    red, green, blue = (float(np.interp(month % 12, _MONTHS, column)) for column in _RGB.T)
    return red, green, blue


def lies_snow(month: float) -> bool:
    """Whether snow may lie: December to March."""
    return month % 12 >= 11 or month % 12 < 3
