# SPDX-License-Identifier: Apache-2.0
"""Networks for views and maps as bundles: yaws, precisions, batches; and what is refused."""

from dataclasses import replace

import onnx
from onnx import helper, TensorProto
import pytest
import torch

from geoloc_core.errors import BundleError, DataError
from geoloc_core.spec import ModelSpec
from tests.training.evaluation import tiny
from tests.training.export_networks import AnyYaw, noisy, Wide
from training import cross_view_exporting, exporting
from training.cross_view_exporting import CrossViewSubject
from training.half_precision import to_half
from training.onnx_graph import random_inputs


@pytest.fixture(scope='module', autouse=True)
def _tiny_is_known():
    tiny.install()


def test_any_number_of_yaws():
    torch.manual_seed(0)
    model = AnyYaw().train()
    bundle = noisy(model, 2)
    assert bundle.spec.output.yaw_input == 'yaws' and bundle.spec.output.yaw_bins == 5
    assert bundle.spec.output.yaw_half_range_deg == 60.0
    # Each sample on its own bins and on other ones; the network is left as it was.
    assert bundle.spec.export.compared == 4 and model.norm.training


def test_what_a_specification_cannot_say_is_refused():
    model = tiny.Tiny(tiny.TinySettings(half_yaw_deg=30.0))
    honest = model.belief
    model.belief = lambda outputs: replace(honest(outputs), yaws=torch.linspace(-0.2, 0.4, 8))
    with pytest.raises(BundleError, match=r'-0.2000 to 0.4000 rad .* not spread evenly'):
        cross_view_exporting.output_spec(model, random_inputs(model))


def test_inputs_that_robots_lack_are_refused():
    model = tiny.Tiny()
    model.EXTRA_INPUTS = ('patch_classes',)
    with pytest.raises(BundleError, match='patch_classes, which a robot does not have'):
        CrossViewSubject(model)


@pytest.fixture(scope='module')
def wide():
    torch.manual_seed(0)
    return Wide()


@pytest.mark.parametrize('precision', ['fp16', 'int8'])
def test_other_precisions_say_how_far_they_are(wide, precision):
    bundle = noisy(wide, 2, precision=precision)
    record = bundle.spec.export
    assert record.precision == precision and not record.broken
    assert [f.name for f in record.parity] == ['log-probability', 'probability', 'position', 'yaw']
    # They do differ: what is compared is not the network with itself.
    assert record.parity[0].worst > 1e-5
    assert record.quantized_samples == (2 if precision == 'int8' else 0)
    kinds = {t.data_type for t in onnx.load_from_string(bundle.weights).graph.initializer}
    small = TensorProto.FLOAT16 if precision == 'fp16' else TensorProto.INT8
    assert small in kinds and TensorProto.FLOAT in kinds
    # What goes in and comes out is float32 all the same.
    graph = onnx.load_from_string(bundle.weights).graph
    ends = {v.type.tensor_type.elem_type for v in (*graph.input, *graph.output)}
    assert ends == {TensorProto.FLOAT}
    assert ModelSpec.from_json(bundle.spec.to_json()) == bundle.spec


@pytest.mark.parametrize('batch', [0, 3])
def test_rows_of_a_batch_answer_each_for_itself(wide, batch):
    bundle = noisy(wide, 3, batch=batch)
    engine = bundle.open_engine(threads=1)
    assert engine.inputs['view'][0] == (batch or -1)
    assert bundle.spec.export.tensors[0].shape[0] == (batch or -1)
    if batch:
        with pytest.raises(BundleError, match='takes 3 frames at a time'):
            bundle.require_fit()
    else:
        bundle.require_fit()


def test_int8_without_pictures_and_nothing_to_halve(wide):
    subject = CrossViewSubject(wide)
    with pytest.raises(DataError, match='no pictures'):
        exporting.make_bundle(subject, [], exporting.Making(precision='int8'))
    empty = helper.make_model(
        helper.make_graph(
            [helper.make_node('Exp', ['a'], ['b'])],
            'sum',
            [helper.make_tensor_value_info('a', TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info('b', TensorProto.FLOAT, [1])],
        )
    )
    with pytest.raises(BundleError, match='no operation that could be'):
        to_half(empty.SerializeToString())
