# SPDX-License-Identifier: Apache-2.0
"""Frames to poses on one device, run on torch's CPU: the robot's own poses come out of it."""

from dataclasses import replace
import math

import numpy as np
import pytest
import torch

pytest.importorskip('onnx')
pytest.importorskip('onnxruntime')

from geoloc_core.errors import BundleError
from geoloc_core.geometry import angles, se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.grid import Grid
from geoloc_core.input_spec import CameraSpec, InputSpec, RasterSpec
from geoloc_core.maps.source import AbstractMapSource
from geoloc_core.preprocess import cut_patch, PatchFrame
from geoloc_core.runtime import engine_choice
from geoloc_core.runtime.bundle import load_bundle
from geoloc_core.runtime.onnx_engine import OnnxEngine
from geoloc_core.runtime.tensorrt_build import with_shapes
from geoloc_core.runtime.tensorrt_engine import TensorRtEngine
from geoloc_core.sources.cross_view import CrossViewConfig, CrossViewSource
from geoloc_core.sources.model_matcher import ModelMatcher
from geoloc_core.sources.pipeline_timing import FRAME, MadeUpDrive
from geoloc_core.spec import OutputSpec
from geoloc_core.types import AerialPatch, GroundView, Status
from tests.benchmarks import gpu_frames
from tests.benchmarks.device_frame import apart, DeviceFrame, FoundPose, Watch
from tests.benchmarks.engines import BUNDLE
from tests.models.fixtures import samples
from tests.runtime.fake_gpu import fake_gpu, plan_of
from tests.runtime.tiny_bundle import spec_of, write_bundle

CPU = torch.device('cpu')


class Sheet(AbstractMapSource):
    """A map that is one patch."""

    def __init__(self, patch):
        self._patch = patch

    @property
    def info(self):
        raise NotImplementedError

    def patch(self, frame, center_xy, size_m, gsd):
        return self._patch


@pytest.fixture(scope='module')
def default():
    """(bundle, its engine on a GPU that is none, the robot's own way on the CPU)."""
    bundle = load_bundle(BUNDLE)
    _, cuda, flavour = fake_gpu()
    matcher = ModelMatcher(bundle, threads=1)
    source = CrossViewSource(matcher, CrossViewConfig(floor_position_m=0.0, floor_yaw=0.0))
    # Engines have fixed sizes: the robot's CPU is asked for as many yaws.
    matcher._yaws_at_once = lambda: bundle.spec.output.yaw_bins
    weights, _ = with_shapes(bundle.weights, bundle.graph().shapes)
    return bundle, TensorRtEngine(plan_of(weights), flavour, cuda), source


def imagery(sample, bundle):
    """The sample's imagery as a map source hands it over."""
    spec = bundle.spec.inputs
    center = se3.planar(sample.prior.T_map_base)[:2]
    size = spec.patch.width, spec.patch.height
    image, mask = cut_patch(sample.patch, PatchFrame(center, 0.0, 0.0), spec.patch_gsd, size)
    return AerialPatch(image, mask, Grid(center, spec.patch_gsd, *size))


def test_real_networks_find_the_robots_own_poses(default):
    bundle, engine, source = default
    network = gpu_frames.engine_network(bundle.spec, engine, CPU)
    paths = [DeviceFrame(bundle.spec, network, CPU, on_host) for on_host in (False, True)]
    agreed = 0
    for number, sample in enumerate(samples(4)):
        ground, prior = Sheet(imagery(sample, bundle)), sample.prior
        if number % 2:
            # One that does not know the yaw so well.
            cov = prior.cov.copy()
            cov[5, 5] = math.radians(10.0) ** 2
            prior = replace(prior, cov=cov)
        wanted = source.measure(sample.view, prior, FRAME, ground)
        gpu, cpu = (path.run(sample.view, prior, ground, Watch(CPU)) for path in paths)
        # One network's answers to pictures that differ by how grey levels are rounded.
        metres, degrees = apart(gpu, cpu)
        assert metres < 0.05 and degrees < 0.1
        np.testing.assert_allclose(gpu.cov, cpu.cov, rtol=0.02, atol=0.05)
        if wanted.status is not Status.OK:
            continue
        pose = np.array(se3.planar(wanted.T_map_base))
        cov = wanted.cov[np.ix_([0, 1, 5], [0, 1, 5])]
        # The robot takes a mode's mean where it is broad, this its top.
        metres, degrees = apart(gpu, FoundPose(pose, cov))
        assert metres < 0.5 and degrees < 1.0
        np.testing.assert_allclose(np.diag(gpu.cov), np.diag(cov), rtol=0.1)
        agreed += 1
    assert agreed >= 3


def test_a_mirrored_frame_is_another(default):
    bundle, engine, _ = default
    path = DeviceFrame(bundle.spec, gpu_frames.engine_network(bundle.spec, engine, CPU), CPU)
    sample = samples(1)[0]
    ground = Sheet(imagery(sample, bundle))
    mirrored = replace(sample.view, image=sample.view.image[:, ::-1])
    one, other = (
        path.run(view, sample.prior, ground, Watch(CPU)) for view in (sample.view, mirrored)
    )
    assert apart(one, other)[0] > 0.5 or not np.allclose(one.cov, other.cov, rtol=0.1)


@pytest.mark.parametrize('turned', ['patch', 'none'])
def test_a_known_volume_becomes_a_known_pose(turned):
    """A network that finds the camera, in a patch that is turned or not."""
    mean, std = (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)
    inputs = InputSpec(
        camera_kinds=('pinhole',),
        view_kind='camera',
        view=RasterSpec('view', 40, 24, mean, std),
        bev=None,
        polar=None,
        camera=CameraSpec('pinhole', (30.0, 30.0), (19.5, 11.5), 1.6),
        patch=RasterSpec('patch', 60, 44, mean, std),
        patch_gsd=0.5,
        turned=turned,
    )
    bins, width, height, cell = 72, 41, 31, 0.5
    output = OutputSpec('logits', 'log_likelihood', bins, 180.0, '', width, height, cell, 1.0)
    spec = replace(spec_of(b''), inputs=inputs, output=output)
    # The camera 2 m to the patch's right and 1 m up, turned by 0.2 (from the prior, or east).
    yaws = -np.pi + 2 * np.pi * np.arange(bins) / bins
    x = (np.arange(width) - (width - 1) / 2) * cell
    y = ((height - 1) / 2 - np.arange(height)) * cell
    turn = angles.difference(yaws, 0.2)[:, None, None]
    volume = -0.5 * ((turn / 0.1) ** 2 + ((y[:, None] - 1) / 0.3) ** 2 + ((x - 2) / 0.6) ** 2)
    logits = torch.from_numpy(volume[None].astype(np.float32))
    camera = PinholeCamera(90, 60, 70.0, 70.0, 44.5, 29.5)
    drive = MadeUpDrive(('pinhole',), 2.0)
    image = np.zeros((60, 90, 3), np.uint8)
    view = GroundView(0, image, camera, drive.T_base_camera)
    heading = 0.9 if turned == 'patch' else 0.1
    prior = replace(
        drive.prior(0),
        T_map_base=se3.from_planar(5.0, 3.0, heading),
        cov=np.diag([400.0, 400.0, 1.0, 0.01, 0.01, 4.0]),
    )
    path = DeviceFrame(spec, lambda *_: logits, CPU)
    found = path.run(view, prior, drive.ground, Watch(CPU))
    # The camera is half a metre in front of base_link.
    yaw = 0.9 + 0.2 if turned == 'patch' else 0.2
    turn = heading if turned == 'patch' else 0.0
    c, s = math.cos(heading), math.sin(heading)
    middle = np.array([5.0 + 0.5 * c, 3.0 + 0.5 * s])
    c, s = math.cos(turn), math.sin(turn)
    there = middle + np.array([2 * c - s, 2 * s + c])
    there = there - 0.5 * np.array([math.cos(yaw), math.sin(yaw)])
    np.testing.assert_allclose(found.pose, [*there, yaw], atol=0.03)
    # Longer along the patch's right-hand side than across it.
    along = np.array([c, s]) @ found.cov[:2, :2] @ [c, s]
    across = np.array([-s, c]) @ found.cov[:2, :2] @ [-s, c]
    assert along > across + 0.1


def test_torch_runs_a_frame_from_end_to_end(monkeypatch):
    monkeypatch.setattr(gpu_frames, 'WARM_UP', 0)
    figures = gpu_frames.device_frames(str(BUNDLE), 'torch', repeat=1, device='cpu')
    assert list(figures['on_gpu']) == list(gpu_frames.STAGES)
    assert set(gpu_frames.STAGES) - set(figures['on_cpu']) == {'tables_ms'}
    assert figures['apart_m']['worst'] < 0.5
    table = gpu_frames.frame_table({'torch': figures, 'tensorrt': {'absent': 'not installed'}})
    lines = table.splitlines()
    assert len(lines) == 5 and lines[-1].endswith('not installed') and 'apart' in lines[3]


def test_an_engine_runs_a_frame_from_end_to_end(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu_frames, 'WARM_UP', 1)
    runtime, cuda, flavour = fake_gpu()
    monkeypatch.setattr('geoloc_core.runtime.cuda.open_cuda', lambda: cuda)
    monkeypatch.setattr('geoloc_core.runtime.tensorrt_build.load_flavour', lambda name: flavour)
    monkeypatch.setattr(engine_choice, 'build_in_child', lambda weights, *_: plan_of(weights))
    folder = write_bundle(tmp_path / 'tiny')
    figures = gpu_frames.device_frames(str(folder), 'tensorrt_rtx', repeat=2, device='cpu')
    assert figures['on_gpu']['frame_ms']['p99'] >= figures['on_gpu']['frame_ms']['p50'] > 0
    assert figures['apart_m']['worst'] < 0.1 and figures['apart_deg']['worst'] < 0.1
    assert not runtime.on_device


def test_half_precision_is_the_same_network_with_the_same_inputs():
    graph = load_bundle(BUNDLE).graph()
    assert gpu_frames.in_precision(graph, 'fp32') is graph
    half = gpu_frames.in_precision(graph, 'fp16')
    assert half.precision == 'fp16' and half.sha256 != graph.sha256
    assert len(half.weights) < 0.6 * len(graph.weights)
    with pytest.raises(BundleError, match='fp16'):
        gpu_frames.in_precision(half, 'fp32')
    assert OnnxEngine(half.weights, 1).inputs == OnnxEngine(graph.weights, 1).inputs


def test_what_is_missing_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert 'sees no GPU' in gpu_frames.device_frames(str(BUNDLE), 'torch')['absent']
    monkeypatch.setattr('geoloc_core.runtime.cuda._DRIVER', 'libnothing.so.1')
    said = gpu_frames.device_frames(str(BUNDLE), 'tensorrt_rtx', device='cpu')
    assert 'no NVIDIA driver' in said['absent']
