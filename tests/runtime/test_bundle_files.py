# SPDX-License-Identifier: Apache-2.0
"""Bundles as a folder or one file; files that are cut off, foreign, or reach outside."""

import hashlib
import io
import json
import zipfile

import pytest

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

import onnx
from onnx import helper, TensorProto

from geoloc_core.errors import BundleError
from geoloc_core.runtime import bundle_files
from geoloc_core.runtime.any_bundle import against_sample, find_bundles, load_any
from geoloc_core.runtime.bundle import load_bundle
from geoloc_core.runtime.bundle_files import one_file, parts_of
from geoloc_core.runtime.onnx_file import read_facts
from geoloc_core.runtime.pose_bundle import is_pose_bundle
from tests.runtime.tiny_bundle import graph, spec_of, write_bundle


@pytest.fixture
def folder(tmp_path):
    return write_bundle(tmp_path / 'tiny')


def packed(folder, **changed):
    parts = {name: (folder / name).read_bytes() for name in parts_of(folder)}
    return one_file({**parts, **changed})


def with_graph(folder, content, opset=17):
    """The folder with another graph, which its specification names."""
    data = json.loads((folder / 'model.json').read_text())
    data.update(sha256=hashlib.sha256(content).hexdigest(), opset=opset)
    (folder / 'model.json').write_text(json.dumps(data))
    (folder / 'model.onnx').write_bytes(content)
    return folder


def test_one_file_is_the_same_bundle(folder, tmp_path):
    place = tmp_path / 'tiny.geoloc'
    place.write_bytes(packed(folder))
    whole, parts = load_bundle(place), load_bundle(folder)
    assert (whole.spec, whole.weights) == (parts.spec, parts.weights)
    assert whole.folder == place and not is_pose_bundle(place)
    assert whole.open_engine().inputs == parts.open_engine().inputs
    # Stored as it is: every tool finds the graph in it.
    assert parts.weights in place.read_bytes()
    assert packed(folder) == packed(folder)
    assert load_any(place).SPEC_FILE == 'model.json'
    assert find_bundles([tmp_path]) == [folder, place]
    with pytest.raises(BundleError, match='does not exist'):
        find_bundles([tmp_path / 'none'])


@pytest.mark.parametrize('name', ['../model.onnx', '/etc/passwd', 'sub/model.onnx', 'run.py'])
def test_names_that_lead_elsewhere_are_refused(folder, tmp_path, name):
    place = tmp_path / 'evil.geoloc'
    content = io.BytesIO(packed(folder))
    with zipfile.ZipFile(content, 'a') as archive:
        archive.writestr(name, b'x')
    place.write_bytes(content.getvalue())
    with pytest.raises(BundleError, match='it is no bundle'):
        load_bundle(place)


def test_files_that_unpack_to_more_or_twice_are_refused(folder, tmp_path, monkeypatch):
    place = tmp_path / 'evil.geoloc'
    with zipfile.ZipFile(place, 'w', zipfile.ZIP_DEFLATED) as archive:
        archive.writestr('model.json', b' ' * 10_000)
    with pytest.raises(BundleError, match='compressed or encrypted'):
        load_bundle(place)
    content = io.BytesIO(packed(folder))
    with zipfile.ZipFile(content, 'a') as archive, pytest.warns(UserWarning):
        archive.writestr('model.json', b'{}')
    place.write_bytes(content.getvalue())
    with pytest.raises(BundleError, match='each once'):
        load_bundle(place)
    place.write_bytes(packed(folder))
    monkeypatch.setattr(bundle_files, 'MAX_WEIGHTS_BYTES', 10)
    with pytest.raises(BundleError, match='more than the 10 allowed'):
        load_bundle(place)


def test_damaged_files_are_refused(folder, tmp_path):
    place = tmp_path / 'torn.geoloc'
    whole = packed(folder)
    place.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BundleError, match='damaged or no bundle in one file'):
        load_bundle(place)
    at = whole.index(b'structure')
    place.write_bytes(whole[:at] + b'STRUCTURE' + whole[at + 9 :])
    with pytest.raises(BundleError, match='is damaged'):
        load_bundle(place)
    place.write_bytes(one_file({'model.json': b'{}'}))
    with pytest.raises(BundleError, match='lacks'):
        load_bundle(place)
    place.write_bytes(one_file({'model.onnx': graph()}))
    with pytest.raises(BundleError, match=r'but no model\.json'):
        load_bundle(place)


# ---- graphs that cannot be ----


def test_weights_in_other_files_are_refused(folder):
    model = onnx.load_from_string(graph())
    tensor = model.graph.initializer[0]
    tensor.ClearField('float_data')
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (('location', '../secrets.bin'), ('offset', '0'), ('length', '4')):
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    assert read_facts(model.SerializeToString()).external == ('gain',)
    with pytest.raises(BundleError, match=r"'gain' is one.* in other files"):
        load_bundle(with_graph(folder, model.SerializeToString()))


def test_weights_in_other_files_are_found_in_branches_too():
    tensor = TensorProto(name='far', data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key='location', value='/tmp/x')
    out = helper.make_tensor_value_info('o', TensorProto.FLOAT, [1])
    inner = helper.make_graph([helper.make_node('Identity', ['far'], ['o'])], 'b', [], [out])
    inner.initializer.append(tensor)
    node = helper.make_node('If', ['c'], ['o'], then_branch=inner, else_branch=inner)
    condition = helper.make_tensor_value_info('c', TensorProto.BOOL, [])
    model = helper.make_model(helper.make_graph([node], 'g', [condition], [out]))
    assert read_facts(model.SerializeToString()).external == ('far', 'far')


def test_cut_off_graphs_are_refused_before_they_are_run(folder):
    whole = graph()
    with pytest.raises(BundleError, match='ends in the middle'):
        load_bundle(with_graph(folder, whole[:-7]))
    with pytest.raises(BundleError, match=r'ends in the middle|no ONNX file|opset 0'):
        load_bundle(with_graph(folder, b'\x7fELF' + whole))


def test_another_opset_is_refused(folder):
    model = onnx.load_from_string(graph())
    model.opset_import[0].version = 99
    content = model.SerializeToString()
    with pytest.raises(BundleError, match='is of opset 99, but its specification says 17'):
        load_bundle(with_graph(folder, content))
    # One that both name, and the runtime does not know.
    with pytest.raises(BundleError, match='onnxruntime refuses the model'):
        load_bundle(with_graph(folder, content, opset=99)).open_engine()


def test_another_signature_is_refused(folder):
    model = onnx.load_from_string(graph())
    model.graph.input[0].name = 'picture'
    for node in model.graph.node:
        for i, name in enumerate(node.input):
            node.input[i] = 'picture' if name == 'view' else name
    with pytest.raises(BundleError, match=r"the model has inputs .*'picture'.*says .*'view'"):
        load_bundle(with_graph(folder, model.SerializeToString())).open_engine()


def test_other_numbers_than_float32_are_refused(folder):
    model = onnx.load_from_string(graph())
    assert read_facts(graph()).other_types == ()
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.UINT8
    with pytest.raises(BundleError, match=r"'patch' that is not float32"):
        load_bundle(with_graph(folder, model.SerializeToString()))


def test_a_bundle_of_old_has_no_sample(folder):
    bundle = load_bundle(folder)
    assert bundle.spec.export is None and bundle.sample == b''
    assert against_sample(bundle, bundle.open_engine()) == ()
    assert 'export' in json.loads(spec_of(graph()).to_json())
