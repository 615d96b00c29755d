# SPDX-License-Identifier: Apache-2.0
"""A model bundle small enough to read: the bird's-eye view, correlated with the patch."""

import hashlib

import onnx
from onnx import helper, TensorProto

from geoloc_core.input_spec import BevSpec, InputSpec, RasterSpec
from geoloc_core.spec import FORMAT, ModelSpec, OutputSpec

VIEW, PATCH, GSD = 81, (121, 111), 0.25
CELLS = (PATCH[0] - VIEW + 1, PATCH[1] - VIEW + 1)


def graph():
    """Convolution of the patch with the view; the bins beside the prior's yaw score less."""
    nodes = [
        # Only structure counts: a bright field must not attract everything.
        helper.make_node(
            'AveragePool',
            ['patch'],
            ['around'],
            kernel_shape=[9, 9],
            pads=[4, 4, 4, 4],
            count_include_pad=0,
        ),
        helper.make_node('Sub', ['patch', 'around'], ['structure']),
        helper.make_node('Conv', ['structure', 'view'], ['score']),
        helper.make_node('Mul', ['score', 'gain'], ['middle']),
        helper.make_node('Mul', ['middle', 'less'], ['side']),
        helper.make_node('Concat', ['side', 'middle', 'side'], ['logits'], axis=1),
    ]
    inputs = [
        helper.make_tensor_value_info('view', TensorProto.FLOAT, [1, 3, VIEW, VIEW]),
        helper.make_tensor_value_info('patch', TensorProto.FLOAT, [1, 3, PATCH[1], PATCH[0]]),
    ]
    outputs = [
        helper.make_tensor_value_info('logits', TensorProto.FLOAT, [1, 3, CELLS[1], CELLS[0]])
    ]
    constants = [
        helper.make_tensor('gain', TensorProto.FLOAT, [1], [0.02]),
        helper.make_tensor('less', TensorProto.FLOAT, [1], [0.9]),
    ]
    built = helper.make_graph(nodes, 'tiny', inputs, outputs, constants)
    model = helper.make_model(built, opset_imports=[helper.make_opsetid('', 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def spec_of(weights):
    mean, std = (0.43, 0.43, 0.43), (0.2, 0.2, 0.2)
    return ModelSpec(
        format=FORMAT,
        system='tiny-correlation',
        licence='Apache-2.0',
        sha256=hashlib.sha256(weights).hexdigest(),
        opset=17,
        inputs=InputSpec(
            camera_kinds=('pinhole',),
            view_kind='bev',
            view=RasterSpec('view', VIEW, VIEW, mean, std),
            bev=BevSpec(GSD, (0.0, 0.0)),
            polar=None,
            camera=None,
            patch=RasterSpec('patch', *PATCH, mean, std),
            patch_gsd=GSD,
            turned='view',
        ),
        output=OutputSpec(
            'logits', 'log_likelihood', 3, 2.0, '', *CELLS, gsd=GSD, temperature=1.0
        ),
    )


def write_bundle(folder):
    weights = graph()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'model.onnx').write_bytes(weights)
    (folder / 'model.json').write_text(spec_of(weights).to_json())
    return folder
