# SPDX-License-Identifier: Apache-2.0
"""The cache of engines: only what was built from and for exactly this is ever found."""

from dataclasses import replace
import errno
import json
import os

import pytest

from geoloc_core.errors import EngineError
from geoloc_core.runtime.cuda import Gpu
from geoloc_core.runtime.engine_cache import CacheEntry, EngineCache

GPU = Gpu('Imaginary RTX', '8.9', 8000)
ENTRY = CacheEntry('ab' * 32, 'tensorrt_rtx', '1.7', str(GPU), (), 'fp32', {'view': (1, 3, 5, 7)})


@pytest.fixture
def cache(tmp_path):
    made = EngineCache(tmp_path / 'engines')
    made.store(ENTRY, b'a plan')
    return made


def sidecar(cache):
    (path,) = cache.folder.glob('*.json')
    return path


def test_what_was_stored_is_found(cache):
    found, passed = cache.find(ENTRY, GPU)
    assert found.plan == b'a plan' and passed == ''
    assert cache.folder.stat().st_mode & 0o077 == 0
    assert not list(cache.folder.glob('*.part'))


@pytest.mark.parametrize(
    ('changed', 'why'),
    [
        ({'version': '1.8'}, r'version is 1\.7, not 1\.8'),
        ({'precision': 'fp16'}, 'precision is fp32'),
        ({'shapes': {'view': (8, 3, 5, 7)}}, 'shapes'),
        # The same beginning of the digest, so that its name is alike.
        ({'sha256': 'ab' * 31 + 'cd'}, 'sha256'),
    ],
)
def test_a_stale_engine_is_passed_over(cache, changed, why):
    found, passed = cache.find(replace(ENTRY, **changed), GPU)
    assert found is None
    import re

    assert re.search(why, passed)


def test_an_engine_of_another_model_or_library_is_not_even_looked_at(cache):
    assert cache.find(replace(ENTRY, sha256='cd' * 32), GPU) == (None, '')
    assert cache.find(replace(ENTRY, flavour='tensorrt'), GPU) == (None, '')


def test_an_engine_of_another_gpu_is_foreign(cache):
    for gpu in (replace(GPU, name='Imaginary GTX'), replace(GPU, capability='12.0')):
        found, passed = cache.find(ENTRY, gpu)
        assert found is None and 'it was built on Imaginary RTX (8.9)' in passed
    # More memory makes it no other.
    assert cache.find(ENTRY, replace(GPU, memory_mb=16000))[0] is not None


@pytest.mark.parametrize(
    ('targets', 'capability', 'fits'),
    [
        ((), '8.0', True),
        ((), '12.0', True),
        ((), '7.5', False),
        (('8.6', '8.9'), '8.9', True),
        (('8.6', '8.9'), '8.7', False),
    ],
)
def test_engines_made_ahead_of_time_fit_their_targets(tmp_path, targets, capability, fits):
    cache = EngineCache(tmp_path)
    cache.store(replace(ENTRY, gpu='', targets=targets), b'portable')
    found, passed = cache.find(ENTRY, replace(GPU, capability=capability))
    assert (found is not None) == fits
    assert fits or 'compute capability' in passed


@pytest.mark.parametrize('damage', ['cut', 'changed', 'absent'])
def test_a_torn_plan_is_never_found(cache, damage):
    plan = sidecar(cache).with_suffix('.plan')
    if damage == 'absent':
        plan.unlink()
    else:
        plan.write_bytes(b'a pla' if damage == 'cut' else b'a plaN')
    found, passed = cache.find(ENTRY, GPU)
    assert found is None and passed
    cache.store(ENTRY, b'anew')
    assert cache.find(ENTRY, GPU)[0].plan == b'anew'


@pytest.mark.parametrize('text', ['', '[]', '{"format": 1}', 'no json', '{"x": NaN}'])
def test_a_description_that_is_none_is_passed_over(cache, text):
    sidecar(cache).write_text(text)
    found, passed = cache.find(ENTRY, GPU)
    assert found is None and 'is not used' in passed


@pytest.mark.parametrize(('key', 'value'), [('shapes', 3), ('targets', 'x'), ('format', 2)])
def test_a_description_of_other_kinds_is_passed_over(cache, key, value):
    data = json.loads(sidecar(cache).read_text())
    sidecar(cache).write_text(json.dumps({**data, key: value}))
    assert cache.find(ENTRY, GPU)[0] is None


def test_a_plan_without_its_description_is_nothing(cache):
    sidecar(cache).unlink()
    assert cache.find(ENTRY, GPU) == (None, '')


def test_a_full_disk_says_so_and_leaves_nothing_half_done(cache, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(os, 'fsync', full)
    with pytest.raises(EngineError, match='No space left on device'):
        cache.store(ENTRY, b'another plan')
    assert cache.find(ENTRY, GPU)[0] is None
    assert not list(cache.folder.glob('.*.part'))


def test_a_folder_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / 'file').write_text('')
    cache = EngineCache(tmp_path / 'file' / 'engines')
    assert cache.find(ENTRY, GPU)[0] is None
    with pytest.raises(EngineError, match='cannot be kept'):
        cache.store(ENTRY, b'a plan')


def test_a_folder_that_anybody_may_write_to_is_not_trusted(cache):
    cache.folder.chmod(0o777)
    found, passed = cache.find(ENTRY, GPU)
    assert found is None and 'others may write' in passed
    with pytest.raises(EngineError, match='others may write'):
        cache.store(ENTRY, b'a plan')


def test_kernels_are_kept_whole_or_not_at_all(cache):
    found, _ = cache.find(ENTRY, GPU)
    cache.store_kernels(found, b'compiled')
    assert cache.find(ENTRY, GPU)[0].kernels == b'compiled'
    file = sidecar(cache).with_suffix('.kernels')
    file.write_bytes(file.read_bytes()[:-1])
    assert cache.find(ENTRY, GPU)[0].kernels == b''
    cache.store(ENTRY, b'a newer plan')
    assert not file.exists()


def test_a_plan_that_did_not_run_is_forgotten(cache):
    cache.remove(cache.find(ENTRY, GPU)[0])
    assert not list(cache.folder.iterdir())


def test_the_users_cache_is_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path))
    assert EngineCache().folder == tmp_path / 'geoloc' / 'engines'
