# SPDX-License-Identifier: Apache-2.0
"""Bundles: what is written answers like the network; what does not is not written."""

from copy import deepcopy
from dataclasses import dataclass, replace
import json
import math
import re

import numpy as np
import onnx
from onnx import helper, numpy_helper, TensorProto
import pytest
import torch
from torch import nn

from geoloc_core.errors import BundleError, ConfigError, DataError
from geoloc_core.geometry import se3
from geoloc_core.models.belief import Belief, evenly_spaced_yaws, peak_pose
from geoloc_core.models.weights import save_weights
from geoloc_core.runtime.any_bundle import against_sample
from geoloc_core.runtime.bundle import load_bundle
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.sources.matcher import Attitude
from geoloc_core.sources.model_matcher import ModelMatcher
from geoloc_core.spec import ModelSpec
from tests.models.fixtures import batch_of, samples
from tests.training.evaluation import tiny
from training import bundle_writing, cross_view_exporting, export, export_samples, exporting
from training.cross_view_exporting import CrossViewSubject
from training.half_precision import to_half
from training.objectives.base import run_model
from training.onnx_graph import random_inputs


@pytest.fixture(scope='module', autouse=True)
def _tiny_is_known():
    tiny.install()


@dataclass(frozen=True)
class AnyYawSettings:
    half_yaw_deg: float = 60.0
    yaw_bins: int = 5


class AnyYaw(tiny.Tiny):
    """Scores the yaws that it is asked for, and has a layer that trains otherwise than it runs."""

    NAME = 'any_yaw'
    Settings = AnyYawSettings
    takes_yaws = True

    def __init__(self):
        super().__init__()
        self.settings = AnyYawSettings()
        self.norm = nn.BatchNorm2d(4)

    def forward(self, view, patch, yaws=None):
        if yaws is None:
            yaws = evenly_spaced_yaws(self.settings.yaw_bins, self.settings.half_yaw_deg)
        about = self.norm(self.view_net(view)).mean(dim=(2, 3))
        place = nn.functional.avg_pool2d(self.patch_net(patch), 2)
        heat = (place * about[:, :, None, None]).sum(dim=1)
        return {'scores': heat[:, None] * yaws.cos()[None, :, None, None], 'yaws': yaws}

    def belief(self, outputs):
        return Belief(outputs['scores'], 2.0, outputs['yaws'], False)


def noisy(model, count, **making):
    """A bundle of a network, compared (and quantized) on noise."""
    subject = CrossViewSubject(model)
    samples, pictures = (export_samples.noise(subject, count) for _ in range(2))
    return exporting.make_bundle(subject, samples, exporting.Making(**making), pictures)


@pytest.fixture(scope='module')
def weights(tmp_path_factory):
    torch.manual_seed(0)
    model = tiny.Tiny()
    with torch.no_grad():
        model.calibration['log_temperature'].fill_(-1.0)
    path = tmp_path_factory.mktemp('run') / 'model.safetensors'
    save_weights(path, model)
    return path, model.eval()


@pytest.fixture(scope='module')
def exported(weights, tmp_path_factory):
    folder = tmp_path_factory.mktemp('bundles') / 'tiny'
    arguments = [
        str(weights[0]), '--out', str(folder), '--data', str(folder.parent), '--reader', 'eight',
        '--samples', '3',
    ]  # fmt: skip
    assert export.main(arguments) == 0
    return folder, arguments


def test_bundle_answers_like_the_network_on_a_robot(weights, exported):
    bundle = load_bundle(exported[0])
    assert bundle.spec.system == 'tiny_judged' and bundle.spec.inputs == weights[1].inputs
    assert (bundle.spec.output.temperature, bundle.spec.output.yaw_half_range_deg) == (1.0, 180.0)
    sample = samples(1)[0]
    result = ModelMatcher(bundle).log_likelihood(
        sample.view, Attitude(0.0, 0.0), sample.patch, sample.prior
    )
    with torch.no_grad():
        belief = weights[1].belief(run_model(weights[1], batch_of(weights[1], [sample])))
    # The robot's path and the training path share no line of torch.
    wanted = belief.logits[0].numpy()
    assert np.abs(result.log_likelihood - wanted).max() < 1e-3 * np.ptp(wanted)
    # And its peak is the same place in the map.
    k, v, u = np.unravel_index(result.log_likelihood.argmax(), result.log_likelihood.shape)
    place = result.grid.xy_from_uv((u, v))
    prior = se3.planar(sample.prior.T_map_base)
    peak = peak_pose(belief)[0].numpy()
    assert np.abs(place - prior[:2] - peak[:2]).max() < belief.cell_m
    assert abs(math.remainder(result.yaws[k] - prior[2] - peak[2], 2 * math.pi)) < belief.yaw_step


def test_nothing_of_the_machine_is_in_it(exported):
    content = (exported[0] / 'model.onnx').read_bytes()
    assert b'.py' not in content and b'site-packages' not in content
    assert set(json.loads((exported[0] / 'model.json').read_text())) >= {'sha256', 'licence'}


def test_a_bundle_is_replaced_only_when_told(exported, capsys):
    assert export.main(exported[1]) == 1
    assert 'say --overwrite' in capsys.readouterr().err


def test_any_number_of_yaws():
    torch.manual_seed(0)
    model = AnyYaw().train()
    bundle = noisy(model, 2)
    assert bundle.spec.output.yaw_input == 'yaws' and bundle.spec.output.yaw_bins == 5
    assert bundle.spec.output.yaw_half_range_deg == 60.0
    # Each sample on its own bins and on other ones; the network is left as it was.
    assert bundle.spec.export.compared == 4 and model.norm.training


def test_difference_over_tolerance_is_refused(weights, exported, monkeypatch):
    graph = load_bundle(exported[0]).weights
    model = deepcopy(weights[1])
    with torch.no_grad():
        model.view_net.weight.add_(0.3)
    monkeypatch.setattr(cross_view_exporting, 'to_onnx', lambda *_: graph)
    with pytest.raises(
        BundleError, match=r'does not answer like the network: .*nothing is written'
    ):
        noisy(model, 1)


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


def test_no_samples_is_an_error():
    model = tiny.Tiny()
    with pytest.raises(DataError, match='no samples'):
        exporting.compare(CrossViewSubject(model), None, [])


def test_sample_that_cannot_be_read_is_left_out(tmp_path):
    subject = CrossViewSubject(tiny.Tiny())
    assert len(list(export_samples.from_data(subject, 'eight', tmp_path, 'torn', 9))) == 1


CONFIG = """
system: {{name: tiny_judged}}
objective: {{name: volume}}
data:
  reader: eight
  root: {root}
  train: {{split: train}}
  validation: {validation}
batch_size: 1
steps: 1
optimizer: {{name: adam, lr: 1.0e-3}}
schedule: {{name: constant}}
"""


def test_samples_of_the_run_that_made_the_weights(tmp_path):
    subject = CrossViewSubject(tiny.Tiny())
    config = tmp_path / 'config.yaml'
    config.write_text(CONFIG.format(root=tmp_path, validation='{split: test}'))
    found = list(export_samples.from_run(subject, config, 'validation', 2))
    assert len(found) == 2 and found[0]['view'].shape == (1, 3, 32, 64)
    assert found[0]['view'].dtype == torch.float32 and not found[0]['view'].equal(found[1]['view'])
    learned = list(export_samples.from_run(subject, config, 'train', 9))
    assert len(learned) == 3 and not learned[0]['view'].equal(found[0]['view'])
    assert export_samples.told(config, 'train') == f'eight: train of {tmp_path.name}'
    config.write_text(CONFIG.format(root=tmp_path, validation='null'))
    assert export_samples.told(config, 'validation') == ''
    # What kept nothing back is compared on what it learned.
    again = list(export_samples.from_run(subject, config, 'validation', 9))
    assert len(again) == 3 and again[0]['view'].equal(learned[0]['view'])


@pytest.mark.parametrize(
    ('more', 'words'),
    [
        ((), r'say --data DIR \(and --reader\), or --noise'),
        (('--noise', '--data', 'x'), 'exclude each other'),
        (('--samples', '0'), 'expected 1 or more'),
        (('--noise', '--precision', 'int8'), 'does not tell what int8 costs'),
        (('--noise', '--batch', 'many'), "expected 1 or more, or 'any'"),
        (('--noise', '--tolerance', 'speed=1'), 'no such measure; .* compared by log-prob'),
        (('--noise', '--tolerance', 'yaw'), 'expected MEASURE=VALUE'),
        (('--data', 'x', '--reader', 'nowhere'), 'nowhere'),
        (('--data', '.', '--reader', 'eight', '--split', 'empty'), 'has no samples'),
    ],
)
def test_misuse_is_named(weights, tmp_path, capsys, more, words):
    assert export.main([str(weights[0]), '--out', str(tmp_path / 'b'), *more]) == 1
    said = capsys.readouterr().err
    assert re.search(words, said) and len(said.splitlines()) == 1
    assert not (tmp_path / 'b').exists()


# ---- precisions and batches ----


class Wide(AnyYaw):
    """With enough numbers in its matrices to be worth half of them, and a sum that is not."""

    NAME = 'wide'

    def __init__(self):
        super().__init__()
        self.mix = nn.Linear(4, 16)
        self.back = nn.Linear(16, 4)

    def forward(self, view, patch, yaws=None):
        if yaws is None:
            yaws = evenly_spaced_yaws(self.settings.yaw_bins, self.settings.half_yaw_deg)
        about = self.back(torch.relu(self.mix(self.norm(self.view_net(view)).mean(dim=(2, 3)))))
        place = nn.functional.avg_pool2d(torch.relu(self.patch_net(patch)), 2)
        heat = 10 * (place * about[:, :, None, None]).sum(dim=1)
        return {'scores': heat[:, None] * yaws.cos()[None, :, None, None], 'yaws': yaws}


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


def test_the_command_takes_ranges_from_the_training_split_and_says_what_int8_costs(
    weights, tmp_path, capsys
):
    out = tmp_path / 'eight'
    words = [
        str(weights[0]), '--out', str(out), '--data', str(tmp_path), '--reader', 'eight',
        '--samples', '3', '--calibrate-samples', '2', '--precision', 'int8',
    ]  # fmt: skip
    # Over tolerance: not even the folder is made.
    assert export.main([*words, '--tolerance', 'log-probability=0']) == 1
    said = capsys.readouterr().err
    assert 'does not answer like the network' in said and 'nothing is written' in said
    assert not out.exists()
    tolerances = (f'{name}=1000' for name in ('log-probability', 'probability', 'position', 'yaw'))
    assert export.main([*words, *(w for t in tolerances for w in ('--tolerance', t))]) == 0
    record = load_bundle(out).spec.export
    assert record.quantized_on == f'eight: train of {tmp_path.name}'
    assert record.compared_on == f'eight: test of {tmp_path.name}'
    assert record.quantized_samples == 2 and record.accuracy_samples == 3
    assert [f.name for f in record.accuracy] == ['median position error', 'median yaw error']
    assert 'against the truth, 3 samples' in capsys.readouterr().out


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


def test_small_numbers_and_geometry_stay_single():
    """Half precision has no 1e-9, and no pixel coordinates of 2,000 with their fractions."""
    weights = numpy_helper.from_array(np.ones((8, 3, 1, 1), np.float32), 'w')
    turn = numpy_helper.from_array(np.eye(3, dtype=np.float32), 'turn')
    tiny_number = numpy_helper.from_array(np.float32(1e-9), 'tiny')
    nodes = [
        helper.make_node('Conv', ['x', 'w'], ['c']),
        helper.make_node('Relu', ['c'], ['r']),
        helper.make_node('Add', ['r', 'tiny'], ['a']),
        helper.make_node('MatMul', ['points', 'turn'], ['p']),
    ]
    sizes = {'x': [1, 3, 4, 5], 'points': [6, 3], 'a': [1, 8, 4, 5], 'p': [6, 3]}
    info = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in sizes.items()}
    graph = helper.make_graph(
        nodes, 'g', [info['x'], info['points']], [info['a'], info['p']],
        [weights, turn, tiny_number],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid('', 20)], ir_version=9)
    made, count = to_half(model.SerializeToString())
    assert count == 2
    engine = OnnxEngine(made, threads=1)
    points = np.full((6, 3), 2000.123, np.float32)
    said = engine.run({'x': np.zeros((1, 3, 4, 5), np.float32), 'points': points})
    np.testing.assert_array_equal(said['p'], points)
    np.testing.assert_allclose(said['a'], np.full((1, 8, 4, 5), 1e-9), rtol=1e-6)


def test_one_file_holds_the_same_bundle(weights, tmp_path, capsys):
    place = tmp_path / 'tiny.geoloc'
    again = [str(weights[0]), '--out', str(place), '--noise', '--samples', '2']
    assert export.main(again) == 0
    said = capsys.readouterr().out
    assert 'compared on 2 answers (noise)' in said and 'log-probability' in said
    bundle = load_bundle(place)
    assert bundle.spec.export.compared_on == 'noise' and bundle.spec.export.accuracy == ()
    assert against_sample(bundle, bundle.open_engine(threads=1))[0].kept
    first = place.read_bytes()
    assert export.main([*again, '--overwrite']) == 0
    assert place.read_bytes() == first


def test_a_bundle_knows_its_errors(exported):
    record = load_bundle(exported[0]).spec.export
    assert record.accuracy_samples == 3 and record.compared_on.startswith('eight: test of ')
    assert [f.unit for f in record.accuracy] == ['m', 'degrees']
    for figure in record.accuracy:
        assert figure.bundle == pytest.approx(figure.network, abs=1e-3)


def test_place_that_is_taken(tmp_path):
    (tmp_path / 'notes.txt').write_text('mine')
    with pytest.raises(ConfigError, match=r"'notes.txt' and is no bundle"):
        bundle_writing.require_place(tmp_path, overwrite=True)
    with pytest.raises(ConfigError, match='is a file'):
        bundle_writing.require_place(tmp_path / 'notes.txt', overwrite=True)
    with pytest.raises(BundleError, match='no such file'):
        export._export(export.parser().parse_args(['x', '--out', str(tmp_path / 'c')]))


def test_another_kind_of_file_is_no_weights(tmp_path, capsys):
    path = tmp_path / 'w.safetensors'
    torch.save({'a': torch.zeros(1)}, path)
    assert export.main([str(path), '--out', str(tmp_path / 'c'), '--noise']) == 1
    assert 'pickle' in capsys.readouterr().err


def test_help_teaches(capsys):
    with pytest.raises(SystemExit):
        export.main(['--help'])
    text = capsys.readouterr().out
    assert 'examples:' in text and 'model.onnx' in text
