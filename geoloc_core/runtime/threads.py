# SPDX-License-Identifier: Apache-2.0
"""How many threads to compute with, so that a robot keeps a core for all else that it does."""

import os

import cv2

# A network of some milliseconds gains little from more.
_MOST = 4


def cores() -> int:
    """Processors that this process may run on: those of its container, where it has fewer."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads_of(asked: int = 0) -> int:
    """Threads of one inference.

    Two are worth it on two cores as well: between frames they sleep (see `OnnxEngine`), and the
    system lets whoever has waited go first.

    Args:
        asked: As many; 0 for one less than there are cores, from 2 (or what there is) to 4.
    """
    return asked or min(cores(), max(2, min(cores() - 1, _MOST)))


def leave_a_core() -> None:
    """Holds OpenCV, in this whole process, to one thread less than there are cores.

    Left alone it splits warps, resizing and the search for features over all of them.
    """
    cv2.setNumThreads(max(1, cores() - 1))
