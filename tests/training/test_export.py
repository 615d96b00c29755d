# SPDX-License-Identifier: Apache-2.0
"""The command: what is written answers like the network; what does not is not written."""

from copy import deepcopy
import json
import math
import re

import numpy as np
import pytest
import torch

from geoloc_core.errors import BundleError, ConfigError
from geoloc_core.geometry import se3
from geoloc_core.models.belief import peak_pose
from geoloc_core.models.weights import save_weights
from geoloc_core.runtime.any_bundle import against_sample
from geoloc_core.runtime.bundle import load_bundle
from geoloc_core.sources.matcher import Attitude
from geoloc_core.sources.model_matcher import ModelMatcher
from tests.models.fixtures import batch_of, samples
from tests.training.evaluation import tiny
from tests.training.export_networks import noisy
from training import bundle_writing, cross_view_exporting, export
from training.objectives.base import run_model


@pytest.fixture(scope='module', autouse=True)
def _tiny_is_known():
    tiny.install()


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
