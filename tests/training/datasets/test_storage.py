# SPDX-License-Identifier: Apache-2.0
"""A stored sample is the sample."""

from dataclasses import replace

import numpy as np
import pytest

from geoloc_core.geometry.cameras import EquirectangularCamera, FisheyeCamera
from training.datasets import storage
from training.datasets.base import UnreadableError
from training.datasets.sample import LabelKind
from training.datasets.storage import load_sample, save_sample


def assert_same(a, b):
    for name in ('key', 'sequence', 'label', 'datum'):
        assert getattr(a, name) == getattr(b, name)
    assert a.view.camera == b.view.camera and a.view.stamp_ns == b.view.stamp_ns
    pairs = [
        (a.view.image, b.view.image),
        (a.view.depth, b.view.depth),
        (a.view.T_base_camera, b.view.T_base_camera),
        (a.T_map_base, b.T_map_base),
        (a.cov, b.cov),
        (a.patch_classes, b.patch_classes),
        (a.view_classes, b.view_classes),
        (a.observed, b.observed),
    ]
    if a.prior is not None:
        pairs += [(a.prior.T_map_base, b.prior.T_map_base), (a.prior.cov, b.prior.cov)]
    for p, q in zip([a.patch, *a.other_patches], [b.patch, *b.other_patches], strict=True):
        if p is not None:
            assert p.grid == q.grid and p.attribution == q.attribution
            pairs += [(p.image, q.image), (p.mask, q.mask)]
    for x, y in pairs:
        assert (x is None) == (y is None)
        if x is not None:
            assert x.dtype == y.dtype
            np.testing.assert_array_equal(x, y)


def test_everything_comes_back_to_the_bit(tiny, tmp_path):
    sample = tiny[3]
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 9, (16, 24)).astype(np.float32)
    depth[2, 3] = np.nan
    mask = rng.random((20, 30)) > 0.5
    full = replace(
        sample,
        view=replace(
            sample.view, depth=depth, camera=FisheyeCamera(24, 16, 9.0, 9.5, 11.0, 8.0, (0.1,) * 4)
        ),
        cov=np.diag(rng.random(6)),
        label=LabelKind.GNSS,
        patch=replace(sample.patch, mask=mask),
        other_patches=(sample.patch, sample.patch),
        patch_classes=np.full((20, 30), 7, np.uint8),
        observed=np.array([[0.1, -2.0, 3.0], [np.nan] * 3], np.float32),
    )
    bare = replace(
        sample,
        view=replace(sample.view, camera=EquirectangularCamera(24, 16)),
        T_map_base=None, label=LabelKind.NONE, patch=None, prior=None, datum=None,
    )  # fmt: skip
    for i, one in enumerate((sample, full, bare)):
        path = tmp_path / 'deep' / f'{i}.npz'
        save_sample(path, one)
        assert_same(one, load_sample(path))
    assert not list(tmp_path.rglob('*.part'))


@pytest.mark.parametrize('damage', ['cut', 'text', 'absent', 'other', 'empty', 'camera'])
def test_damage_is_named(tiny, tmp_path, damage):
    path = tmp_path / 'sample.npz'
    save_sample(path, tiny[0])
    if damage == 'cut':
        path.write_bytes(path.read_bytes()[:500])
    elif damage == 'text':
        path.write_text('hello')
    elif damage == 'other':
        np.savez(path, a=np.zeros(3))
    elif damage == 'empty':
        path.write_bytes(b'')
    elif damage == 'camera':
        path.write_bytes(path.read_bytes().replace(b'"fx": 20.0', b'"fx": -2.0'))
    else:
        path.unlink()
    with pytest.raises(UnreadableError, match=r'sample\.npz'):
        load_sample(path)


def test_a_file_that_unpacks_to_more_than_any_sample_is_refused(tmp_path, monkeypatch):
    path = tmp_path / 'sample.npz'
    np.savez_compressed(path, image=np.zeros(3_000_000, np.uint8))
    assert path.stat().st_size < 10_000
    monkeypatch.setattr(storage, 'MAX_UNPACKED_BYTES', 1_000_000)
    with pytest.raises(UnreadableError, match=r'sample\.npz') as refused:
        load_sample(path)
    assert 'more than the 1000000 allowed' in str(refused.value.__cause__)


def test_a_full_disk_leaves_nothing_behind(tiny, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, 'No space left on device')

    sample = tiny[0]
    monkeypatch.setattr(type(tmp_path), 'write_bytes', full)
    with pytest.raises(OSError, match='No space'):
        save_sample(tmp_path / 'cache' / 'sample.npz', sample)
    assert not list((tmp_path / 'cache').iterdir())
