# SPDX-License-Identifier: Apache-2.0
"""Bundles of pose networks: the graph answers like the network, with and without a modality."""

from dataclasses import replace
import json

import numpy as np
import pytest
import torch

from geoloc_core.errors import BundleError, ConfigError, DataError
from geoloc_core.geometry import se3
from geoloc_core.models.pose_model import PoseBelief
from geoloc_core.models.weights import save_weights
from geoloc_core.runtime.any_bundle import against_sample
from geoloc_core.runtime.bundle import load_bundle
from geoloc_core.runtime.pose_bundle import is_pose_bundle, load_pose_bundle
from geoloc_core.sources.pose_regressor import PoseRegressor, PoseRegressorConfig
from geoloc_core.types import Status
from geoloc_ros.cli.main import main as geoloc
from tests.models.operator_gate import assert_builds
from tests.training import room
from tests.training.pose_networks import small
from training import export_samples, pose_exporting
from training.bundle_writing import write_bundle
from training.export import main
from training.exporting import make_bundle, Making
from training.pose_exporting import PoseGraph, PoseSubject

NAMES = ('vmloc', 'atloc')


@pytest.fixture(scope='module', autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def doubtful(name):
    """A network whose answers depend on everything that calibration can fit."""
    model = small(name)
    with torch.no_grad():
        for scalar in model.calibration.values():
            scalar += 0.3 * torch.randn(scalar.shape)
    return model.eval()


def make(model, count, **making):
    """A bundle of a network, compared (and quantized) on noise."""
    subject = PoseSubject(model, 'room')
    samples, pictures = (export_samples.noise(subject, count) for _ in range(2))
    return make_bundle(subject, samples, Making(**making), pictures)


@pytest.fixture(scope='module')
def made(tmp_path_factory):
    """Of each name: the network, and its bundle on disk."""
    found = {}
    for name in NAMES:
        model = doubtful(name)
        folder = tmp_path_factory.mktemp(name)
        found[name] = model, write_bundle(make(model, 2), folder)
    return found


@pytest.mark.slow
@pytest.mark.parametrize('making', [{'precision': 'fp16'}, {'precision': 'int8'}, {'batch': 0}])
def test_other_precisions_and_any_batch(made, making):
    # Fresh weights on noise: int8 may cost anything.
    anything = {'tolerances': {'position': 9.0, 'rotation': 180.0, 'covariance': 99.0}}
    record = make(made['vmloc'][0], 2, **making, **anything).spec.export
    assert not record.broken and record.compared == 6
    assert record.batch == making.get('batch', 1)


@pytest.mark.slow
@pytest.mark.parametrize('name', ['atloc', 'pose_concatenation'])
def test_the_baselines_take_any_batch(name):
    record = make(doubtful(name), 1, batch=0).spec.export
    assert not record.broken and record.batch == 0


def test_samples_with_a_truth_are_judged(made):
    model, _ = made['vmloc']
    subject = PoseSubject(model, 'room')
    sample = subject.noise(1)
    said = subject.answers(sample)
    turned = se3.exp_rotation(np.array([0.0, np.radians(3.0), 0.0])) @ said['rotation'][0]
    truth = {
        'truth/position': torch.tensor(said['position'] + [[0.3, 0.0, -0.4]]),
        'truth/rotation': torch.tensor(turned[None]),
    }
    found = subject.errors(said, {**sample, **truth})
    assert found['median position error', 'm'] == pytest.approx(0.5, abs=1e-4)
    assert found['median rotation error', 'degrees'] == pytest.approx(3.0, abs=1e-2)


@pytest.mark.parametrize(('name', 'answers'), [('vmloc', 6), ('atloc', 4)])
def test_graphs_answer_like_their_networks(made, name, answers):
    _, bundle = made[name]
    record = bundle.spec.export
    # Two samples, whole and from every modality that the network can answer from.
    assert record.compared == answers
    worst = {figure.name: figure.worst for figure in record.parity}
    assert worst['position'] < 1e-4 and worst['rotation'] < 1e-2 and worst['covariance'] < 1e-3
    assert against_sample(bundle, bundle.open_engine(threads=1))[0].kept
    assert bundle.spec.place == 'room' and is_pose_bundle(bundle.folder)
    text = bundle.weights.decode('latin-1')
    assert '/site-packages/' not in text and 'geoloc_core' not in text
    assert_builds(bundle.weights, dict(bundle.graph().shapes))


@pytest.mark.slow
def test_a_graph_that_answers_otherwise_is_not_written(monkeypatch):
    model = small('atloc').eval()
    belief = type(model).belief

    class Off(PoseGraph):
        def forward(self, colour, depth, present):
            answer = belief(self.model, self.model(colour, depth, present))
            return answer.position + 0.02, answer.rotation, answer.cov

    graph_of = pose_exporting.graph_of
    monkeypatch.setattr(
        pose_exporting, 'graph_of', lambda module, *rest: graph_of(Off(module.model), *rest)
    )
    with pytest.raises(BundleError, match='does not answer like the network'):
        make(model, 1)
    monkeypatch.setattr(pose_exporting, 'graph_of', graph_of)
    with pytest.raises(DataError, match='no samples'):
        make(model, 0)


def test_damaged_and_foreign_bundles_are_refused(made, tmp_path):
    folder = made['atloc'][1].folder
    with pytest.raises(BundleError, match=r'model\.json'):
        load_bundle(folder)
    for name in ('model.onnx', 'pose.json'):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / 'model.onnx').write_bytes(b'torn')
    with pytest.raises(BundleError, match='sha256'):
        load_pose_bundle(tmp_path)
    (tmp_path / 'pose.json').unlink()
    with pytest.raises(BundleError, match=r'pose\.json cannot be read'):
        load_pose_bundle(tmp_path)


# ---- on a robot ----


def test_a_robot_gets_the_pose_of_its_base(made):
    _, bundle = made['vmloc']
    regressor = PoseRegressor(bundle, PoseRegressorConfig(max_std_m=1e3, threads=1), 'room')
    sample = room.sample_at(room.pose(1))
    measured = regressor.localize(sample.view)
    assert measured.status is Status.OK and measured.reasons == ()
    # The camera 0.7 m before base_link: base_link stands there, and a yaw moves it sideways.
    mount = se3.make(sample.view.T_base_camera[:3, :3], [0.7, 0.0, 0.0])
    there = regressor.localize(replace(sample.view, T_base_camera=mount))
    shift = se3.inverse(measured.T_map_base) @ there.T_map_base
    np.testing.assert_allclose(shift, se3.make(np.eye(3), [-0.7, 0.0, 0.0]), atol=1e-6)
    np.testing.assert_allclose(there.cov[3:, 3:], measured.cov[3:, 3:], rtol=1e-6)
    assert np.linalg.eigvalsh(there.cov).min() > 0
    # A map that lies elsewhere takes pose and covariance along.
    T = se3.from_xyz_rpy(10.0, -4.0, 1.0, 0.0, 0.0, np.pi / 2)
    far = PoseRegressor(bundle, PoseRegressorConfig(max_std_m=1e3, threads=1), T_map_place=T)
    moved = far.localize(sample.view)
    np.testing.assert_allclose(moved.T_map_base, T @ measured.T_map_base, atol=1e-6)
    np.testing.assert_allclose(moved.cov, se3.rotate_cov(measured.cov, T[:3, :3]), atol=1e-9)


def test_the_covariance_at_a_lever_is_that_of_samples(made):
    _, bundle = made['vmloc']
    regressor = PoseRegressor(
        bundle, PoseRegressorConfig(floor_position_m=1e-6, floor_rotation=1e-6, threads=1)
    )
    rng = np.random.default_rng(0)
    A = rng.normal(size=(6, 6)) * ([0.1] * 3 + [0.01] * 3)
    cov = A.T @ A
    T, lever = room.pose(3), se3.from_xyz_rpy(0.4, -0.2, 0.9, 0.1, 0.2, 0.3)
    draws = rng.multivariate_normal(np.zeros(6), cov, 20_000)
    base = np.stack([
        np.concatenate([d[:3] + se3.exp_rotation(d[3:]) @ (T[:3, :3] @ lever[:3, 3]), d[3:]])
        for d in draws
    ])  # fmt: skip
    found = regressor._cov_of_base(cov, T, lever)
    scale = np.sqrt(np.outer(np.diag(found), np.diag(found)))
    assert (np.abs(np.cov(base.T) - found) / scale).max() < 0.05


def test_frames_without_what_the_network_needs(made):
    view = room.sample_at(room.pose(2)).view
    regressor = PoseRegressor(made['vmloc'][1], PoseRegressorConfig(max_std_m=1e3, threads=1))
    colour_alone = regressor.localize(replace(view, depth=None))
    assert colour_alone.status is Status.OK and colour_alone.reasons == ('without depth',)
    black = replace(view, image=np.zeros_like(view.image))
    measured = regressor.localize(black)
    # Nothing to be seen hides nothing that is measured: depth stands where the picture is black.
    assert measured.status is Status.OK and measured.reasons == ('without colour',)
    neither = regressor.localize(replace(black, depth=None))
    assert neither.status is Status.BAD_INPUT and neither.T_map_base is None
    only_colour = PoseRegressor(made['atloc'][1], PoseRegressorConfig(threads=1))
    assert only_colour.localize(black).status is Status.BAD_INPUT
    doubting = PoseRegressor(made['vmloc'][1], PoseRegressorConfig(max_std_m=1e-3, threads=1))
    refused = doubting.localize(view)
    assert refused.status is Status.LOST and 'deviation' in refused.reasons[-1]
    with pytest.raises(ConfigError, match='room'):
        PoseRegressor(made['vmloc'][1], place='kitchen')


def test_a_network_for_batches_is_refused_at_start(made):
    bundle = made['atloc'][1]
    many = replace(bundle.spec.export, batch=8)
    with pytest.raises(BundleError, match='takes 8 frames at a time, a robot has one'):
        PoseRegressor(replace(bundle, spec=replace(bundle.spec, export=many)))


def test_no_number_is_no_answer(made, monkeypatch):
    regressor = PoseRegressor(made['atloc'][1], PoseRegressorConfig(threads=1))
    run = regressor.engine.run
    monkeypatch.setattr(
        regressor.engine, 'run', lambda a: {**run(a), 'cov': np.full((1, 6, 6), np.nan)}
    )
    assert regressor.localize(room.sample_at(room.pose(2)).view).status is Status.BAD_INPUT


# ---- the command ----


def test_the_command_writes_a_bundle(tmp_path, capsys):
    weights = tmp_path / 'model.safetensors'
    save_weights(weights, small('atloc'))
    words = [str(weights), '--out', str(tmp_path / 'bundle'), '--noise', '--samples', '1']
    assert main(words) == 1
    assert '--place' in capsys.readouterr().err
    assert main([*words, '--place', 'hall']) == 0
    assert "a pose in 'hall' from colour" in capsys.readouterr().out
    assert json.loads((tmp_path / 'bundle' / 'pose.json').read_text())['system'] == 'atloc'
    assert main([*words, '--place', 'hall']) == 1
    assert '--overwrite' in capsys.readouterr().err
    assert main([*words, '--place', 'hall', '--overwrite']) == 0


def test_belief_and_graph_are_one(made):
    model, _ = made['vmloc']
    arrays = tuple(PoseSubject(model, 'room').noise(1).values())
    with torch.no_grad():
        belief = model.belief(model(*arrays))
        assert isinstance(belief, PoseBelief)
        assert torch.equal(PoseGraph(model)(*arrays)[2], belief.cov)


def test_stages_of_a_frame_are_timed(made, capsys):
    folder = made['vmloc'][1].folder
    assert geoloc(['model', 'bench', str(folder), '--repeat', '2', '--threads', '1']) == 0
    text = capsys.readouterr().out
    for stage in ('image', 'prepare', 'network', 'pose', 'frame'):
        assert f'\n{stage} ' in text, stage
    assert 'vmloc on onnxruntime' in text and 'pinhole 640 x 480' in text
