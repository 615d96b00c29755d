# SPDX-License-Identifier: Apache-2.0
"""CrossViT descriptors: published sizes and costs, both kinds of tokens, weights from files."""

from dataclasses import replace
import math
from pathlib import Path

import pytest
import torch

from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.models.base import parameter_count
from geoloc_core.models.cost import multiply_adds
from geoloc_core.models.crossvit import bicubic
from geoloc_core.models.crossvit_settings import (
    BranchSettings,
    CrossVitSettings,
    CrossVitTeacherSettings,
    SpatialSettings,
)
from geoloc_core.models.crossvit_tokens import (
    centre_of,
    NOWHERE,
    RotaryTokens,
    rotation_of,
    sine_tokens,
    SineTokens,
    wavenumbers,
)
from geoloc_core.models.crossvit_weights import published_name
from geoloc_core.models.registry import make_model
from geoloc_core.models.weights import load_weights, save_weights

SMALL = {'image_px': 24, 'patch_px': 6, 'width': 12, 'heads': 2, 'depth': 1}
LARGE = {'image_px': 16, 'patch_px': 8, 'width': 24, 'heads': 2, 'depth': 2}
TINY = {
    'small': BranchSettings(**SMALL),
    'large': BranchSettings(**LARGE),
    'encoders': 2,
    'size': 7,
}


def tiny_student(**settings):
    torch.manual_seed(1)
    return make_model('crossvit_student', {**TINY, **settings}).eval()


def tiny_teacher(**spatial):
    torch.manual_seed(1)
    return make_model('crossvit_teacher', {**TINY, 'spatial': SpatialSettings(**spatial)}).eval()


def seen(count=3, patches=4, seed=0, shift=(0.0, 0.0, 0.0)):
    """A picture, and rays, ranges and camera of poses in general position."""
    generator = torch.Generator().manual_seed(seed)
    view = torch.randn(count, 3, 24, 24, generator=generator)
    rays = torch.randn(count, patches, 3, generator=generator)
    rays = torch.nn.functional.normalize(rays, dim=-1)
    ranges = 1 + torch.rand(count, patches, generator=generator)
    cameras = []
    for i in range(count):
        T = se3.from_xyz_rpy(0.3 * i + shift[0], 1 + shift[1], -0.5 + shift[2], 0.2, 0.4 * i, 1.0)
        inverse = se3.inverse(T)
        x, y, z, w = se3.quaternion_xyzw(inverse)
        cameras.append([*inverse[:3, 3], w, x, y, z])
    return view, {'rays': rays, 'ranges': ranges, 'camera': torch.tensor(cameras).float()}


@pytest.mark.parametrize(('old', 'new'), [(240, 224), (24, 16), (10, 15)])
def test_bicubic_weights_resample_as_torch_does(old, new):
    """And a picture of one colour keeps it, edges included."""
    weights = bicubic(old, new)
    assert weights.shape == (new, old)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(new))
    picture = torch.randn(2, 3, old, old, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.interpolate(
        picture, (new, new), mode='bicubic', align_corners=False
    )
    torch.testing.assert_close(weights @ picture @ weights.T, expected, atol=2e-6, rtol=1e-5)


def test_sizes_and_cost_are_the_published_ones():
    """Published: 6.9 M parameters, 1.6 G multiply-adds."""
    model = make_model('crossvit_student')
    assert parameter_count(model) == 7_014_800
    assert parameter_count(model) / 1e6 == pytest.approx(6.9, abs=0.15)
    cost = multiply_adds(model, torch.zeros(1, 3, 240, 240))
    assert cost / 1e9 == pytest.approx(1.6, abs=0.05)
    # Both sides of the picture are resampled by products, which the published code does not count.
    assert cost - 3 * 224 * 240 * (240 + 224) == 1_562_734_080
    # The compact descriptor takes the place of 290 000 parameters of classes.
    compact = make_model('crossvit_student', {'descriptor': 'compact'})
    assert compact.size == 256
    assert parameter_count(model) - parameter_count(compact) == 97_000 + 193_000 - 289 * 256


def test_the_page_has_these_sizes():
    page = (Path(__file__).parents[2] / 'docs' / 'places.md').read_text(encoding='utf-8')
    rotary = {'spatial': SpatialSettings(encoding='rotary')}
    for name, settings, words in (
        ('crossvit_student', {}, '| 7.01 M, 1.56 G;'),
        ('crossvit_student', {'descriptor': 'compact'}, 'compact descriptor 6.80 M |'),
        ('crossvit_teacher', {}, '| 6.87 M;'),
        ('crossvit_teacher', rotary, 'rotary 6.88 M |'),
    ):
        count = f'{parameter_count(make_model(name, settings)) / 1e6:.2f} M'
        assert count in words and words in page


def test_cost_counts_attention():
    attention = tiny_student().trunk.encoders[0].own[1][0].attn
    tokens, width = 5, 24
    wanted = tokens * width * 4 * width + 2 * tokens * tokens * width
    assert multiply_adds(attention, torch.zeros(1, tokens, width)) == wanted


@pytest.mark.parametrize('descriptor', ['classes', 'compact'])
def test_descriptors_have_length_one_and_depend_on_the_picture(descriptor):
    model = tiny_student(descriptor=descriptor)
    view, _ = seen()
    with torch.no_grad():
        found = model(view)
    assert found.shape == (3, 7)
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    assert (found[0] - found[1]).norm() > 1e-4
    assert make_model('crossvit_student', {**TINY, 'size': None}).size == 1000


def test_descriptor_of_classes_is_the_mean_of_both_heads():
    model = tiny_student()
    view, _ = seen()
    with torch.no_grad():
        tokens = model.trunk([view, view])
        mean = (model.head.layers[0](tokens[0]) + model.head.layers[1](tokens[1])) / 2
        torch.testing.assert_close(model(view), mean / mean.norm(dim=1, keepdim=True))


def test_each_branch_hears_of_the_other_only_through_class_tokens():
    """With the visits silenced, the large branch does not notice the picture of the small one."""
    model = tiny_student()
    view, _ = seen()
    other = view.roll(1, dims=0)

    def large(small_view):
        with torch.no_grad():
            return model.trunk([small_view, view])[1]

    assert (large(view) - large(other)).abs().max() > 1e-5
    with torch.no_grad():
        for encoder in model.trunk.encoders:
            # Its class token returns as what the layer's bias says, whatever it has seen.
            encoder.back[1][2].weight.zero_()
    torch.testing.assert_close(large(view), large(other))


def test_a_patch_is_where_the_picture_has_it():
    """Turning the picture upside down is not turning the descriptor's sign of rows."""
    model = tiny_student()
    made = model.trunk.patches[0](torch.arange(24.0).view(1, 1, 1, 24).expand(1, 3, 24, 24))
    patches = made[0, 1:].reshape(4, 4, -1)
    # Columns differ, rows do not: patches are row by row.
    torch.testing.assert_close(patches[0], patches[3])
    assert (patches[:, 0] - patches[:, 3]).abs().max() > 0.1


def test_unknown_settings_are_refused():
    with pytest.raises(ConfigError, match='descriptor'):
        CrossVitSettings(descriptor='long')
    with pytest.raises(ConfigError, match='whole patches'):
        BranchSettings(25, 6, 12, 2, 1)
    with pytest.raises(ConfigError, match='heads'):
        BranchSettings(24, 6, 10, 4, 1)
    with pytest.raises(ConfigError, match=r'spatial\.points'):
        SpatialSettings(points='guess')
    with pytest.raises(ConfigError, match='wavelengths'):
        SpatialSettings(wavelengths=(2.0, 1.0))


# ---- tokens of the teacher ----


def test_sine_tokens_stretch_each_token_and_repeat():
    found = sine_tokens(torch.tensor([[0.0, 1.0, 2.0, 4.0]]), 18)[0]
    angles = torch.tensor([-1.0, -0.5, 0.0, 1.0]) * math.pi
    pair = torch.cat([angles.sin(), angles.cos()])
    torch.testing.assert_close(found[:8], pair)
    torch.testing.assert_close(found, torch.cat([pair, pair, pair])[:18])


def test_sine_tokens_are_blind_to_shift_and_scale_as_published():
    numbers = torch.tensor([[0.3, -1.0, 2.0, 0.9, 0.1, -0.2, 0.4]])
    torch.testing.assert_close(
        sine_tokens(numbers, 24), sine_tokens(5.0 * numbers + 3.0, 24), atol=1e-5, rtol=0
    )


def test_sine_tokens_of_the_branch_put_the_unknown_nowhere():
    _, extra = seen(count=1)
    camera = extra['camera']
    points = torch.randn(1, 4, 3)
    tokens = SineTokens(BranchSettings(**LARGE))
    with_hole = points.clone()
    with_hole[0, 2] = float('nan')
    found, rotation = tokens(with_hole, camera)
    assert rotation is None and found.isfinite().all()
    nowhere = torch.cat([torch.full((3,), NOWHERE), camera[0, 3:]])
    torch.testing.assert_close(found[0, 3], sine_tokens(nowhere, 24))
    # The slot of the class: translation and quaternion.
    torch.testing.assert_close(found[0, 0], sine_tokens(camera[0], 24))


def test_rotation_depends_on_displacements_alone():
    """Query at a against key at b: the same product wherever both are moved together."""
    torch.manual_seed(0)
    query, key = torch.randn(1, 1, 2, 8), torch.randn(1, 1, 2, 8)
    waves = wavenumbers((0.5, 20.0), 1)
    places = torch.tensor([[[0.2, -1.0, 3.0], [1.0, 0.5, 2.0]]])

    def product(at):
        turn = rotation_of(at, waves, 4)
        return turn(query)[0, 0, 0] @ turn(key)[0, 0, 1]

    moved = product(places + torch.tensor([4.0, -7.0, 1.5]))
    torch.testing.assert_close(product(places), moved, atol=1e-4, rtol=1e-4)
    apart = places.clone()
    apart[0, 1, 0] += 1.0
    assert (product(places) - product(apart)).abs() > 1e-3


def test_rotation_turns_pairs_by_the_angle_of_their_axis():
    waves = torch.tensor([2.0])
    turn = rotation_of(torch.tensor([[[0.1, 0.2, 0.3]]]), waves, 4)
    x = torch.tensor([1.0, 0.0] * 4).view(1, 1, 1, 8)
    wanted = [f(a) for a in (0.2, 0.4, 0.6, 0.0) for f in (math.cos, math.sin)]
    torch.testing.assert_close(turn(x).flatten(), torch.tensor(wanted))


def test_waves_go_from_the_longest_to_the_shortest():
    waves = wavenumbers((0.5, 200.0), 5)
    torch.testing.assert_close(waves[0], torch.tensor(2 * math.pi / 200.0))
    torch.testing.assert_close(waves[-1], torch.tensor(2 * math.pi / 0.5))
    ratios = waves[1:] / waves[:-1]
    torch.testing.assert_close(ratios, ratios[:1].expand(4))


def test_camera_centre_is_not_the_translation():
    """Wrong-sign test: map -> camera is given, the centre is -R^T t."""
    T = se3.from_xyz_rpy(2.0, -3.0, 0.5, 0.1, 0.2, 1.3)
    inverse = se3.inverse(T)
    x, y, z, w = se3.quaternion_xyzw(inverse)
    camera = torch.tensor([[*inverse[:3, 3], w, x, y, z]]).float()
    torch.testing.assert_close(centre_of(camera), torch.tensor([[2.0, -3.0, 0.5]]))


def test_rotary_tokens_look_along_the_optical_axis():
    branch = BranchSettings(**LARGE)
    torch.manual_seed(0)
    tokens = RotaryTokens(branch, SpatialSettings(encoding='rotary'))
    with torch.no_grad():
        # Keep the directions alone.
        tokens.project.weight.zero_()
        tokens.project.bias.zero_()
        tokens.project.weight[:3, -3:] = torch.eye(3)
        tokens.unknown.fill_(9.0)
    T = se3.from_xyz_rpy(2.0, -3.0, 0.5, 0.1, 0.2, 1.3)
    inverse = se3.inverse(T)
    x, y, z, w = se3.quaternion_xyzw(inverse)
    camera = torch.tensor([[*inverse[:3, 3], w, x, y, z]]).float()
    centre = torch.tensor([2.0, -3.0, 0.5])
    points = (centre + torch.tensor([[0.0, 0.0, 4.0], [-2.0, 0.0, 0.0]]))[None]
    points = torch.cat([points, torch.full((1, 1, 3), float('nan'))], dim=1)
    found, rotation = tokens(points, camera)
    torch.testing.assert_close(found[0, 0, :3], torch.tensor(T[:3, 2]).float())
    torch.testing.assert_close(found[0, 1, :3], torch.tensor([0.0, 0.0, 1.0]))
    torch.testing.assert_close(found[0, 2, :3], torch.tensor([-1.0, 0.0, 0.0]))
    assert (found[0, 3] == 9.0).all()
    # The class and the unknown lie at the camera: they do not turn.
    assert (rotation.sin[0, [0, 3]] == 0).all() and rotation.sin[0, 1].abs().max() > 0


@pytest.mark.parametrize('encoding', ['sine', 'rotary'])
@pytest.mark.parametrize('points', ['rays', 'depth'])
def test_teacher_uses_space_as_it_is_set(encoding, points):
    model = tiny_teacher(encoding=encoding, points=points)
    view, extra = seen()
    with torch.no_grad():
        found = model(view, **extra)
        torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
        moved = model(view, **{**extra, 'camera': extra['camera'].roll(1, dims=0)})
        further = model(view, **{**extra, 'ranges': extra['ranges'].flip(1) * 2.0})
    assert (found - moved).abs().max() > 1e-4
    if points == 'rays':
        torch.testing.assert_close(found, further)
    else:
        assert (found - further).abs().max() > 1e-5


def test_teacher_takes_holes_in_depth_and_learns_from_them():
    for encoding in ('sine', 'rotary'):
        model = tiny_teacher(encoding=encoding, points='depth').train()
        view, extra = seen()
        extra['ranges'][:, :2] = float('nan')
        # A place rather than the length, which is always one.
        model(view, **extra)[:, 0].sum().backward()
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        assert gradients and all(g.isfinite().all() for g in gradients)


def test_teacher_refuses_another_number_of_patches():
    view, extra = seen(patches=9)
    with pytest.raises(ConfigError, match='9 rays'):
        tiny_teacher()(view, **extra)


# ---- files ----


@pytest.mark.parametrize(
    ('theirs', 'ours'),
    [
        ('patch_embed.1.proj.weight', 'patches.1.proj.weight'),
        ('pos_embed_0', 'positions.0'),
        ('pos_embed.1', 'positions.1'),
        ('cls_token.0', 'patches.0.class_token'),
        ('blocks.2.blocks.1.3.attn.qkv.bias', 'encoders.2.own.1.3.attn.qkv.bias'),
        ('blocks.0.blocks.0.0.mlp.fc2.weight', 'encoders.0.own.0.0.mlp.2.weight'),
        ('blocks.1.projs.0.2.weight', 'encoders.1.leave.0.2.weight'),
        ('blocks.1.fusion.1.attn.wk.weight', 'encoders.1.cross.1.attn.wk.weight'),
        ('blocks.1.revert_projs.0.0.bias', 'encoders.1.back.0.0.bias'),
        ('norm.1.weight', 'norms.1.weight'),
        ('head.0.bias', 'layers.0.bias'),
    ],
)
def test_names_of_published_files(theirs, ours):
    assert published_name(theirs) == ours


def published_file(model, path):
    """A file of the model's weights in the naming of CrossViT's authors."""
    state = {}
    for name, value in model.state_dict().items():
        part, rest = name.split('.', 1)
        if part == 'head':
            state['head.' + rest.removeprefix('layers.')] = value
            continue
        if rest.startswith('patches'):
            branch, kind = rest.split('.')[1], rest.split('.', 2)[2]
            new = (
                f'cls_token.{branch}' if kind == 'class_token' else f'patch_embed.{branch}.{kind}'
            )
        elif rest.startswith('positions'):
            new = rest.replace('positions', 'pos_embed')
        elif rest.startswith('norms'):
            new = rest.replace('norms', 'norm')
        else:
            new = rest.replace('encoders', 'blocks', 1)
            for ours, theirs in (
                ('.own.', '.blocks.'),
                ('.leave.', '.projs.'),
                ('.cross.', '.fusion.'),
                ('.back.', '.revert_projs.'),
                ('mlp.0', 'mlp.fc1'),
                ('mlp.2', 'mlp.fc2'),
            ):
                new = new.replace(ours, theirs)
        state[new] = value
    torch.save(state, path)


def test_imagenet_weights_come_from_a_file(tmp_path):
    path = tmp_path / 'tiny.pth'
    source = tiny_student()
    published_file(source, path)
    view, _ = seen()
    with pytest.raises(ConfigError, match='1000 classes'):
        tiny_student(weights=str(path))
    compact = make_model(
        'crossvit_student', {**TINY, 'descriptor': 'compact', 'weights': str(path)}
    )
    with torch.no_grad():
        for wanted, found in zip(
            source.trunk([view, view]), compact.trunk([view, view]), strict=True
        ):
            torch.testing.assert_close(wanted, found)
    settings = {**TINY, 'descriptor': 'compact', 'weights': str(path)}
    teacher = make_model('crossvit_teacher', settings)
    torch.testing.assert_close(teacher.trunk.positions[1], source.trunk.positions[1])
    with pytest.raises(ConfigError, match='no weights at'):
        tiny_student(weights=str(tmp_path / 'absent.pth'))
    with pytest.raises(ConfigError, match='another'):
        tiny_student(weights=str(path), small=replace(TINY['small'], width=24))


@pytest.mark.parametrize('name', ['crossvit_student', 'crossvit_teacher'])
def test_weights_go_to_a_file_and_back(tmp_path, name):
    model = tiny_student() if name.endswith('student') else tiny_teacher(encoding='rotary')
    save_weights(tmp_path / 'a.safetensors', model)
    again = load_weights(tmp_path / 'a.safetensors')
    assert again.settings == model.settings
    view, extra = seen()
    extra = extra if model.EXTRA_INPUTS else {}
    with torch.no_grad():
        torch.testing.assert_close(again(view, **extra), model(view, **extra))


def test_teacher_settings_are_the_published_ones():
    settings = CrossVitTeacherSettings()
    assert (settings.large.side, settings.small.side) == (14, 20)
    assert settings.spatial == SpatialSettings('rays', 10.0, 'sine')
