# SPDX-License-Identifier: Apache-2.0
"""Weights come back to the bit, and files that are not what they should be are named."""

import errno
import json
import resource
from types import SimpleNamespace

import pytest
from safetensors import safe_open
from safetensors.torch import save_file
import torch

from geoloc_core.errors import BundleError
from geoloc_core.models import weights
from geoloc_core.models.pretrained import pretrained_wanted
from geoloc_core.models.registry import make_model
from geoloc_core.models.weights import load_into, load_weights, read_header, save_weights
from tests.training.loop import tiny


@pytest.fixture(autouse=True)
def _tiny_is_known():
    tiny.install()


@pytest.fixture
def model():
    torch.manual_seed(3)
    return make_model('tiny', {'channels': 6})


def test_weights_and_their_settings_come_back(tmp_path, model):
    path = tmp_path / 'deeper' / 'w.safetensors'
    save_weights(path, model, {'epoch': 4, 'nll': 1.25})
    loaded = load_weights(path, 'tiny')
    assert loaded.settings == model.settings and not loaded.training
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value)
    assert read_header(path).facts == {'epoch': 4, 'nll': 1.25}
    assert [p.name for p in path.parent.iterdir()] == ['w.safetensors']


def test_no_pretrained_weights_are_read_for_a_file_that_has_all(tmp_path, model, monkeypatch):
    save_weights(tmp_path / 'w.safetensors', model)
    wanted = []
    monkeypatch.setattr(
        weights, 'make_model', lambda *a: wanted.append(pretrained_wanted()) or make_model(*a)
    )
    load_weights(tmp_path / 'w.safetensors')
    assert wanted == [False] and pretrained_wanted()


def test_another_system_is_refused(tmp_path, model):
    save_weights(tmp_path / 'w.safetensors', model)
    with pytest.raises(BundleError, match=r"'tiny', expected 'hc_net'"):
        load_weights(tmp_path / 'w.safetensors', 'hc_net')


def test_other_shapes_are_refused_by_name(tmp_path, model):
    save_weights(tmp_path / 'w.safetensors', model)
    with pytest.raises(BundleError, match=r'of_view.weight is \(6, 3, 4, 4\), expected \(4, 3'):
        load_into(make_model('tiny'), tmp_path / 'w.safetensors')


def rewritten(path, **changes):
    header, tensors = weights.load_tensors(path)
    save_file(tensors, str(path), {**header, **changes})


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'version': '2'}, "version '2', this program reads 1"),
        ({'format': 'pt'}, "its format is 'pt'"),
        ({'settings': '{'}, 'header is damaged'),
        ({'settings': '{"chanels": 6}'}, "no setting 'chanels'"),
        ({'system': 'tinier'}, "'tinier', which is not known"),
    ],
)
def test_headers_that_do_not_fit(tmp_path, model, changes, said):
    path = tmp_path / 'w.safetensors'
    save_weights(path, model)
    rewritten(path, **changes)
    with pytest.raises(BundleError, match=said):
        load_weights(path)


def test_what_is_no_weights_at_all(tmp_path, model):
    path = tmp_path / 'w.safetensors'
    with pytest.raises(BundleError, match='no such file'):
        load_weights(path)
    torch.save(model.state_dict(), path)
    with pytest.raises(BundleError, match='pickle'):
        load_weights(path)
    torch.save(model.state_dict(), path, _use_new_zipfile_serialization=False)
    with pytest.raises(BundleError, match='pickle'):
        load_weights(path)
    save_weights(path, model)
    whole = path.read_bytes()
    for damaged in (b'', whole[:7], whole[: len(whole) // 2], whole[:-1], b'\xff' * 64):
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match='damaged'):
            load_weights(path)


def test_a_header_as_long_as_a_pickle_begins_is_no_pickle(tmp_path, model):
    """The first bytes of a file are the length of its header, and may be those of a pickle."""
    path = tmp_path / 'w.safetensors'
    save_weights(path, model, {'note': ''})
    bare = int.from_bytes(path.read_bytes()[:8], 'little')
    wanted = next(n for n in (0x280, 0x380, 0x480, 0x580) if n > bare)
    save_weights(path, model, {'note': 'x' * (wanted - bare)})
    assert path.read_bytes()[:2] in (b'\x80\x02', b'\x80\x03', b'\x80\x04', b'\x80\x05')
    assert len(read_header(path).facts['note']) == wanted - bare


def test_a_header_is_read_without_the_weights(tmp_path, model, monkeypatch):
    path = tmp_path / 'w.safetensors'
    save_weights(path, model, {'epoch': 4})

    class WithoutTensors:
        """A file whose tensors may not be asked for."""

        def __init__(self, *where, **options):
            self.file = safe_open(*where, **options)

        def __enter__(self):
            return SimpleNamespace(metadata=self.file.__enter__().metadata)

        def __exit__(self, *error):
            return self.file.__exit__(*error)

    monkeypatch.setattr(weights, 'safe_open', WithoutTensors)
    assert read_header(path).facts == {'epoch': 4}
    with pytest.raises(AttributeError):
        load_weights(path)


@pytest.mark.parametrize('real', [False, True])
def test_a_full_disk_leaves_the_old_file_whole(tmp_path, model, monkeypatch, real):
    path = tmp_path / 'w.safetensors'
    save_weights(path, model, {'epoch': 1})
    before = path.read_bytes()

    def full(_tensors, unfinished, _header):
        with open(unfinished, 'wb') as file:
            file.write(before[:100])
        raise OSError(errno.ENOSPC, 'No space left on device', unfinished)

    if real:
        # What the system does at a limit it also does at a full disk: a write that fails.
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    else:
        monkeypatch.setattr(weights, 'save_file', full)
    try:
        with pytest.raises(OSError, match=r'w\.safetensors'):
            save_weights(path, model, {'epoch': 2})
    finally:
        if real:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ['w.safetensors']


def test_tensors_that_share_memory_are_saved(tmp_path, model):
    model.of_view.weight = model.of_patch.weight
    save_weights(tmp_path / 'w.safetensors', model)
    loaded = load_weights(tmp_path / 'w.safetensors')
    assert torch.equal(loaded.of_view.weight, model.of_patch.weight)


def test_settings_are_plain_json(tmp_path, model):
    save_weights(tmp_path / 'w.safetensors', model)
    header, _ = weights.load_tensors(tmp_path / 'w.safetensors')
    assert json.loads(header['settings']) == model.settings_dict
