# SPDX-License-Identifier: Apache-2.0
"""What the search hands on to the estimate, and the watch that both of them are timed by."""

from dataclasses import dataclass
import time

from geoloc_core.sources.rgbd.matching import Correspondences, Sight
from geoloc_core.sources.rgbd.solver import Hypothesis


@dataclass(frozen=True, eq=False)
class Found:
    """A pose that the features agree on, before it is refined.

    Attributes:
        best: The pose and what agrees with it.
        matches: All that was matched.
        sight: The view's features.
        use_depth: Whether the depth of the view can be believed.
        tracked: Found near the prior, and not by looking everywhere.
        notes: What is wrong with the depth, where it cannot be believed for that.
    """

    best: Hypothesis
    matches: Correspondences
    sight: Sight
    use_depth: bool
    tracked: bool
    notes: tuple[str, ...] = ()


class Stopwatch:
    """Stage name -> milliseconds; a stage that comes twice adds up."""

    def __init__(self) -> None:
        """Starts."""
        self._last = time.perf_counter()
        self.laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Books the time since the last lap to a stage."""
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + 1e3 * (now - self._last)
        self._last = now
