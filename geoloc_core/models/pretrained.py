# SPDX-License-Identifier: Apache-2.0
"""Whether backbones should begin with pretrained weights: not where all weights follow anyway."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_WANTED: ContextVar[bool] = ContextVar('pretrained_wanted', default=True)


def pretrained_wanted() -> bool:
    """Whether a network under construction should read pretrained weights."""
    return _WANTED.get()


@contextmanager
def without_pretrained() -> Iterator[None]:
    """Networks built inside read none: the file they came from need not be on this machine."""
    token = _WANTED.set(False)
    try:
        yield
    finally:
        _WANTED.reset(token)
