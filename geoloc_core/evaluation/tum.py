# SPDX-License-Identifier: Apache-2.0
"""TUM trajectory files, which `evo` and many others read: stamp x y z qx qy qz qw."""

from pathlib import Path

import numpy as np

from geoloc_core.errors import BagError, InputError
from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.geometry import se3


def write_tum(path: str | Path, trajectory: Trajectory) -> None:
    """Writes a trajectory; stamps keep their nanoseconds, which a float64 would not."""
    lines = ['# stamp_s x y z qx qy qz qw']
    for stamp, T in zip(trajectory.stamps_ns, trajectory.poses, strict=True):
        seconds, nanoseconds = divmod(int(stamp), 1_000_000_000)
        values = [*T[:3, 3], *se3.quaternion_xyzw(T[:3, :3])]
        numbers = ' '.join(f'{value:.9f}' for value in values)
        lines.append(f'{seconds}.{nanoseconds:09d} {numbers}')
    Path(path).write_text('\n'.join(lines) + '\n', encoding='ascii')


def stamp_ns_from_seconds(text: str) -> int:
    """Nanoseconds of a decimal number of seconds, exact where a float64 would round.

    Raises:
        ValueError: Not a number.
    """
    whole, _, fraction = text.partition('.')
    if not whole.isdigit() or (fraction and not fraction.isdigit()):
        # Written as 1.3e9 by other tools: as exact as a float is.
        return round(float(text) * 1e9)
    return int(whole) * 1_000_000_000 + int(fraction[:9].ljust(9, '0'))


def read_tum(path: str | Path) -> Trajectory:
    """Reads a trajectory.

    Raises:
        BagError: The file is absent or a line is not of eight numbers.
    """
    file = Path(path)
    if not file.is_file():
        raise BagError(f'no trajectory file {file}')
    samples = []
    for number, line in enumerate(file.read_text(encoding='utf-8').splitlines(), start=1):
        parts = line.split()
        if not parts or parts[0].startswith('#'):
            continue
        try:
            stamp = stamp_ns_from_seconds(parts[0])
            values = np.array([float(v) for v in parts[1:]])
            samples.append((stamp, se3.from_quaternion(values[:3], values[3:7])))
        except (ValueError, IndexError, InputError) as error:
            raise BagError(
                f'{file}:{number} is not "stamp x y z qx qy qz qw": {line!r}'
            ) from error
    return Trajectory.of(samples)
