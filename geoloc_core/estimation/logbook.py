# SPDX-License-Identifier: Apache-2.0
"""What became of every input, counted; and what is worth telling a person."""

from collections import Counter, deque

from geoloc_core.types import Status


class Logbook:
    """Counts and remembers; the caller holds the lock.

    Attributes:
        counters: 'input.STATUS' -> how many; and events such as 'reset' and 're-acquired'.
        events: The last things worth telling a person, newest last.
        refusals: Input -> why its latest sample was not used as it is, '' if it was.
    """

    def __init__(self) -> None:
        self.counters: Counter[str] = Counter()
        self.events: deque[str] = deque(maxlen=50)
        self.refusals: dict[str, str] = {}

    def note(self, stream: str, status: Status, reason: str, events: list[str]) -> Status:
        """Writes down the fate of one sample.

        Args:
            stream: The input.
            status: What became of the sample.
            reason: Why it was not used as it is; '' if it was.
            events: What else happened on its account; emptied. The words before ':' and ' from'
                are what is counted.

        Returns:
            The status.
        """
        self.counters[f'{stream}.{status.name}'] += 1
        self.refusals[stream] = reason
        for event in events:
            self.counters[event.split(':')[0].split(' from')[0]] += 1
            self.events.append(event)
        events.clear()
        return status
