# SPDX-License-Identifier: Apache-2.0
"""What is said about files that a list names and a folder lacks."""

from collections.abc import Sequence
from pathlib import Path

_NAMES_SHOWN = 3


def absent_files(folder: Path, names: Sequence[str], what: str, whose: str) -> list[str]:
    """One sentence on the listed files that a folder lacks, or none.

    The folder is listed once, which is far quicker than asking for each file.

    Args:
        folder: Where they must lie.
        names: File names; repeated ones count once.
        what: 'panoramas', 'tiles' ...
        whose: The city or part, first word of the sentence.
    """
    wanted = dict.fromkeys(names)
    present = {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
    absent = [name for name in wanted if name not in present]
    if not absent:
        return []
    count = f'{whose}: {len(absent)} of {len(wanted)} listed {what} are absent'
    if not present:
        return [f'{count}: nothing lies in {folder}; unpack the {what} of {whose} there']
    if len(absent) == len(wanted):
        for suffix in ('.jpg', '.png'):
            if present & {Path(name).with_suffix(suffix).name for name in wanted}:
                return [
                    f'{count}: {folder} holds them as {suffix}, which is another (older) release; '
                    f'the lists name {Path(absent[0]).suffix}: download the {what} again'
                ]
        return [
            f'{count}: {folder} holds {len(present)} files, but none of those listed (e.g. '
            f'{absent[0]}): lists and {what} are of different versions'
        ]
    shown = ', '.join(absent[:_NAMES_SHOWN])
    return [f'{count} from {folder}, e.g. {shown}: unpack the {what} of {whose} again']
