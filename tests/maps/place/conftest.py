# SPDX-License-Identifier: Apache-2.0
"""A map of the painted room, made once."""

import pytest

from geoloc_core.maps.place.builder import build_place, BuildConfig
from geoloc_core.maps.place.sequence import MemorySequence
from tests.maps.place import room


@pytest.fixture(scope='session')
def paintings():
    return room.walls()


@pytest.fixture(scope='session')
def frames(paintings):
    return room.walk(paintings, 7)


@pytest.fixture(scope='session')
def place(frames):
    """Keyframes of a quarter turn."""
    config = BuildConfig(max_features=200)
    return build_place(MemorySequence('room', frames, z_up=True), config)
