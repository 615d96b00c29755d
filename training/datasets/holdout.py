# SPDX-License-Identifier: Apache-2.0
"""Parts of a recording to train, choose and judge with: whole stretches, never every n-th frame.

A frame's neighbours are nearly its copies. Splits that interleave them measure how well a method
remembers, not how well it localizes. Frames may also be kept back for where they look, and then
those that look nearly there with them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from geoloc_core.errors import DataError

SPLITS = ('train', 'validation', 'test', 'all')
# Share of a recording left out between training and what follows it.
GUARD = 0.01


def check_shares(**shares: float) -> None:
    """Refuses what is no part of a whole.

    Raises:
        DataError: Not within 0 .. 0.9.
    """
    for name, share in shares.items():
        if not 0.0 <= share <= 0.9:
            raise DataError(f'{name} = {share}: expected a share of the frames, 0 to 0.9')


def stretch(
    count: int, split: str, validation: float, test: float = 0.0, guard: float = GUARD
) -> range:
    """The frames of one part of a recording, in order of time: train, validation, test.

    Args:
        count: Frames of the recording.
        split: 'train', 'validation', 'test' or 'all'.
        validation: Share of the frames before the test that is kept for choosing a model.
        test: Share of all frames, the last ones.
        guard: Share of the frames before the test that lies between training and what follows it
            and belongs to neither. Where a camera moves slowly, or the test looks where nothing
            was mapped, a small one leaves a validation that is easier than the test.

    Returns:
        Their numbers, 0 .. count - 1; possibly none.
    """
    first_test = count - round(count * test)
    first_validation = first_test - round(first_test * validation)
    left_out = round(first_test * guard) if first_validation < count else 0
    return {
        'all': range(count),
        'train': range(max(0, first_validation - left_out)),
        'validation': range(first_validation, first_test),
        'test': range(first_test, count),
    }[split]


def stretch_and_aside(
    axes: NDArray[np.float64],
    split: str,
    *,
    validation: float,
    test: float,
    guard: float,
    aside: float,
) -> Sequence[int]:
    """The frames of one part of a recording whose validation also looks where training does not.

    A stretch kept back for its time stands where training never stood, and yet looks at what it
    looked at. A robot also looks elsewhere. So of the frames before the test those join the
    validation whose optical axes are farthest from the mean of all, and leave training together
    with the next ones in that order: `guard` should be wide. Another recording of the same place
    may look there all the same.

    Args:
        axes: (N, 3) optical axes of the frames, in order of time, unit vectors, map frame; NaN
            where one is not known, which is then taken for that of a frame in the middle.
        split: As of `stretch`.
        validation: As of `stretch`.
        test: As of `stretch`.
        guard: As of `stretch`; as many of the next frames in order of looking are left out.
        aside: Share of the frames before the test that is kept back for where it looks.

    Returns:
        Their numbers, 0 .. N - 1, in order of time; possibly none.
    """
    part = stretch(len(axes), split, validation, test, guard)
    first_test = len(axes) - round(len(axes) * test)
    before = axes[:first_test]
    # Of any length: where a recording looks all round, the sum is nearly nothing.
    known = before[np.isfinite(before).all(axis=1)]
    order = np.argsort(before @ known.sum(axis=0), kind='stable')
    kept = {int(i) for i in order[: round(first_test * aside)]}
    if split == 'validation':
        return sorted(kept.union(part))
    if split == 'train' and kept:
        beside = {int(i) for i in order[: len(kept) + round(first_test * guard)]}
        return [i for i in part if i not in beside]
    return part
