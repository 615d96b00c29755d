# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the whole suite."""

import os
from pathlib import Path

import pytest

# The first is read once, when a generated message class is first imported: wrong types then fail
# by name instead of reaching the wire as damaged memory.
os.environ.setdefault('ROS_PYTHON_CHECK_FIELDS', '1')
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')

# Real data is never committed: it lies beside the checkout, or where GEOLOC_DATA says.
DATA_ROOT = Path(
    os.environ.get('GEOLOC_DATA', Path(__file__).resolve().parents[2] / 'shared' / 'data')
)


@pytest.fixture(scope='session')
def real_data():
    """Returns a function that gives a folder of the real data, or skips the test."""

    def folder(*parts: str) -> Path:
        path = DATA_ROOT.joinpath(*parts)
        if not path.exists():
            pytest.skip(f'real data absent: {path} (set GEOLOC_DATA)')
        return path

    return folder
