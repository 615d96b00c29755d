# SPDX-License-Identifier: Apache-2.0
"""A student as robots run it: a bundle that describes as its network does, or none."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from geoloc_core.descriptor_spec import DescriptorSpec, whole_picture
from geoloc_core.errors import BundleError, DataError, InputError, MapError
from geoloc_core.features.base import LocalFeatures
from geoloc_core.features.global_descriptor import restore
from geoloc_core.maps.place.builder import build_place, BuildConfig
from geoloc_core.maps.place.file import load_place, save_place
from geoloc_core.maps.place.sequence import MemorySequence
from geoloc_core.models.crossvit_settings import BranchSettings
from geoloc_core.models.registry import make_model
from geoloc_core.runtime.any_bundle import against_sample
from geoloc_core.runtime.descriptor_bundle import load_descriptor_bundle, NetworkDescriptor
from geoloc_core.sources.place_timing import time_descriptor
from geoloc_core.sources.rgbd.localization import PlaceLocalizer
from geoloc_core.types import Status
from geoloc_ros.cli.main import main as geoloc
from tests.maps.place import room
from tests.models.operator_gate import assert_builds
from tests.training.rooms import Rooms
from training.bundle_writing import write_bundle
from training.description import DescriptorPreparation, run_descriptor
from training.descriptor_exporting import DescriptorSubject, OUTPUT
from training.export_samples import noise
from training.exporting import make_bundle, Making

TINY = {
    'small': BranchSettings(24, 6, 12, 2, 1),
    # Resized inside the network, as the published one is.
    'large': BranchSettings(16, 8, 24, 2, 1),
    'encoders': 1,
    'size': 6,
}
NO_FEATURES = LocalFeatures.none(8)


@pytest.fixture(scope='module')
def model():
    torch.manual_seed(0)
    made = make_model('crossvit_student', {**TINY, 'descriptor': 'compact'})
    with torch.no_grad():
        # Random weights are so small that all pictures look alike.
        for parameter in made.parameters():
            parameter.mul_(3.0)
    return made


def make(model, count=2, **making):
    """A bundle of a network, compared (and quantized) on noise."""
    subject = DescriptorSubject(model)
    samples, pictures = (noise(subject, count) for _ in range(2))
    return make_bundle(subject, samples, Making(**making), pictures)


@pytest.fixture(scope='module')
def bundle(model):
    return make(model, 3)


def test_the_graph_describes_as_the_network(bundle):
    record = bundle.spec.export
    assert record.compared == 3 and record.parity[0].worst < 1e-4
    assert bundle.spec.size == 6 and bundle.spec.system == 'crossvit_student'
    assert against_sample(bundle, bundle.open_engine(threads=1))[0].kept
    assert_builds(bundle.weights, dict(bundle.graph().shapes))


def test_eight_bits_say_how_many_places_they_lose(model):
    prepare = DescriptorPreparation(model.view, model.patches_a_side)
    rooms = Rooms('.', 'train')
    batches = [
        {name: torch.from_numpy(value)[None] for name, value in prepare(rooms.sample(i)).items()}
        for i in (0, 1, 3, 4, 12, 13)
    ]
    subject = DescriptorSubject(model)
    samples = [subject.sample(batch) for batch in batches]
    # Each direction of a room is a place, and has two pictures: the descriptors of all are told
    # to lie in a row, where one is nearer to another place's than to its own.
    row = (0.0, 0.1, 0.35, 0.5, 0.7, 0.75)
    vectors = [{OUTPUT: np.float32([[np.cos(a), np.sin(a)]])} for a in row]
    found = subject.joint_errors(vectors, samples)
    assert found == {('places not found at first try', '%'): 0.0}
    vectors[2] = {OUTPUT: np.float32([[np.cos(0.18), np.sin(0.18)]])}
    found = subject.joint_errors(vectors, samples)
    assert found['places not found at first try', '%'] == pytest.approx(100 * 3 / 6)
    # Without a partner nothing can be found, and of noise no place is known.
    assert subject.joint_errors(vectors[::2], samples[::2]) == {}
    assert subject.joint_errors(vectors[:1], [subject.noise(1)]) == {}
    making = Making(precision='int8', tolerances={'distance': 9.0})
    record = make_bundle(subject, samples, making, samples[:2]).spec.export
    (figure,) = record.accuracy
    assert figure.name == 'places not found at first try' and record.accuracy_samples == 6
    assert 0.0 <= figure.network <= 100.0 and 0.0 <= figure.bundle <= 100.0


@pytest.mark.slow
@pytest.mark.parametrize('making', [{'precision': 'fp16'}, {'precision': 'int8'}, {'batch': 0}])
def test_other_precisions_and_any_batch(model, making):
    record = make(model, **making).spec.export
    assert not record.broken and record.precision == making.get('precision', 'fp32')


def test_a_robot_describes_a_picture_as_training_does(model, bundle, tmp_path):
    folder = tmp_path / 'student'
    write_bundle(bundle, folder)
    opened = NetworkDescriptor(load_descriptor_bundle(folder), threads=1)
    sample = Rooms('.', 'train').sample(4)
    found = opened.describe(sample.view.image, NO_FEATURES)
    arrays = DescriptorPreparation(model.view, model.patches_a_side)(sample)
    with torch.no_grad():
        wanted = run_descriptor(model.eval(), {'view': torch.from_numpy(arrays['view'])[None]})
    np.testing.assert_allclose(found, wanted[0].numpy(), atol=1e-4)
    assert found.dtype == np.float32 and np.linalg.norm(found) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(InputError, match='there is none'):
        opened.describe(None, NO_FEATURES)
    with pytest.raises(InputError, match='uint8'):
        opened.describe(np.zeros((4, 6), np.uint8), NO_FEATURES)


def test_a_map_remembers_the_weights(bundle):
    opened = NetworkDescriptor(bundle, threads=1)
    opened.require_of('network', opened.arrays())
    with pytest.raises(MapError, match='build it again'):
        opened.require_of('vlad', {})
    other = {'sha256': opened.arrays()['sha256'][::-1]}
    with pytest.raises(MapError, match='other weights'):
        opened.require_of('network', other)


def test_a_network_for_batches_is_refused_at_start(bundle):
    many = replace(bundle.spec.export, batch=8)
    batched = replace(bundle, spec=replace(bundle.spec, export=many))
    with pytest.raises(BundleError, match='takes 8 frames at a time, a robot has one'):
        NetworkDescriptor(batched, threads=1)
    with pytest.raises(BundleError, match='takes 8 frames at a time'):
        time_descriptor(batched, threads=1, repeat=1)


def test_teachers_stay_at_home(model):
    teacher = make_model('crossvit_teacher', TINY)
    with pytest.raises(BundleError, match='train a student'):
        DescriptorSubject(teacher)


def test_nothing_is_made_that_describes_otherwise(model, bundle, monkeypatch):
    monkeypatch.setattr('training.descriptor_exporting.graph_of', lambda *a: bundle.weights)
    with pytest.raises(BundleError, match='nothing is written'):
        make(model, 1, tolerances={'distance': 0.0})
    with pytest.raises(BundleError, match='1 samples at a time, not for any number'):
        make(model, 1, batch=0)
    with pytest.raises(DataError, match='no samples'):
        make(model, 0)
    nothing = [{model.view.name: torch.full((1, 3, 24, 24), float('nan'))}]
    with pytest.raises(BundleError, match='no number'):
        make_bundle(DescriptorSubject(model), nothing)


def test_damaged_bundles_are_refused(bundle, tmp_path):
    folder = tmp_path / 'student'
    write_bundle(bundle, folder)
    text = (folder / 'descriptor.json').read_text()
    assert DescriptorSpec.from_json(text) == bundle.spec
    (folder / 'descriptor.json').write_text(text.replace('"size": 6', '"size": 7'))
    with pytest.raises(BundleError, match='outputs'):
        load_descriptor_bundle(folder).open_engine()
    (folder / 'descriptor.json').write_text(text.replace('"size"', '"sizes"'))
    with pytest.raises(BundleError, match='sizes'):
        load_descriptor_bundle(folder)
    (folder / 'descriptor.json').write_text(text)
    (folder / 'model.onnx').write_bytes(bundle.weights[:-1])
    with pytest.raises(BundleError, match='damaged'):
        load_descriptor_bundle(folder)
    with pytest.raises(BundleError, match='cannot be read'):
        load_descriptor_bundle(tmp_path)
    for wrong in ({'size': 0}, {'format': 9}, {'sha256': 'x'}):
        with pytest.raises(BundleError):
            replace(bundle.spec, **wrong)
    assert bundle.spec.output == OUTPUT


def test_the_whole_picture_is_seen(model):
    image = np.zeros((30, 60, 3), np.uint8)
    image[:, 30:] = 200
    made = whole_picture(image, model.view)
    assert made.shape == (24, 24, 3)
    assert (made[:, :11] < 5).all() and (made[:, 13:] > 195).all()
    assert whole_picture(image[:4, :4], model.view).shape == (24, 24, 3)


def test_a_place_is_searched_by_a_network(bundle, tmp_path):
    """From the bundle over the file of the map to a pose: nobody described pictures otherwise."""
    descriptor = NetworkDescriptor(bundle, threads=1)
    paintings = room.walls()
    frames = room.walk(paintings, 6)
    config = BuildConfig(max_features=300)
    place = build_place(MemorySequence('room', frames), config, descriptor=descriptor)
    save_place(place, tmp_path / 'room.place')
    place = load_place(tmp_path / 'room.place')
    descriptor.require_of(place.global_kind, place.global_arrays)
    with pytest.raises(MapError, match='network'):
        restore(place.global_kind, place.global_arrays)
    query = room.posed(paintings, 2.33, 1.93, 0.45, name='query')
    measured = PlaceLocalizer(place, descriptor=descriptor).localize(query.view)
    assert measured.status is Status.OK
    error = measured.T_map_base[:3, 3] - query.T_place_base[:3, 3]
    assert np.linalg.norm(error) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize('descriptor', ['classes', 'compact'])
def test_the_published_network_becomes_a_graph(descriptor):
    torch.manual_seed(0)
    made = make_model('crossvit_student', {'descriptor': descriptor})
    bundle = make(made)
    assert bundle.spec.export.parity[0].worst < 1e-4
    assert bundle.spec.size == (1000 if descriptor == 'classes' else 256)
    # Four bytes a parameter.
    assert len(bundle.weights) > 4 * 6_700_000


def test_stages_of_a_picture_are_timed(bundle, tmp_path, capsys):
    folder = write_bundle(bundle, tmp_path / 'student').folder
    assert geoloc(['model', 'bench', str(folder), '--repeat', '2', '--threads', '1']) == 0
    text = capsys.readouterr().out
    for stage in ('image', 'normalise', 'engine', 'frame'):
        assert f'\n{stage} ' in text, stage
