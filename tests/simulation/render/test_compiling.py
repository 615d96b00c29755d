# SPDX-License-Identifier: Apache-2.0
"""A compiled kernel is out of date as soon as any kernel's source is another."""

from geoloc_core.simulation.render import compiling
from geoloc_core.simulation.render.noise import pulse


def test_stored_kernels_belong_to_all_sources(monkeypatch):
    pulse(0.1, 0.2, 0.3)
    stored = pulse._cache._cache_file
    assert stored._source_stamp == compiling._fingerprint()
    assert len(stored._load_index()) >= 1
    monkeypatch.setattr(stored, '_source_stamp', 'another')
    assert len(stored._load_index()) == 0
