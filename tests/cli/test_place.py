# SPDX-License-Identifier: Apache-2.0
"""geoloc place, from a folder or a bag to a map, and what people get wrong on the way."""

from pathlib import Path
import shlex

import cv2
import numpy as np
import pytest

pytest.importorskip('rosbags')

from geoloc_core.bags import messages, topics
from geoloc_core.bags.writer import BagWriter
from geoloc_core.geometry.geodesy import Datum
from geoloc_core.maps.place import container
from geoloc_core.maps.place.file import load_place
from geoloc_ros.cli.main import build_parser, main
from tests.maps.place import room

INTRINSICS = [str(v) for v in (131.0, 133.0, 81.0, 58.5)]
OWN = ['--calibration', 'registered', '--intrinsics', *INTRINSICS, '--max-features', '200']


@pytest.fixture(scope='module')
def frames():
    return room.walk(room.walls(), 4)


@pytest.fixture(scope='module')
def folder(tmp_path_factory, frames):
    """The room in the layout of 7-Scenes."""
    path = tmp_path_factory.mktemp('rooms') / 'room'
    path.mkdir()
    for k, frame in enumerate(frames):
        stem = str(path / f'frame-{k:06d}')
        cv2.imwrite(f'{stem}.color.png', frame.view.image[..., ::-1])
        mm = np.rint(frame.view.depth * 1e3).astype(np.uint16)
        cv2.imwrite(f'{stem}.depth.png', mm)
        np.savetxt(f'{stem}.pose.txt', frame.T_place_camera)
    return path


@pytest.fixture(scope='module')
def built(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp('maps') / 'room.place'
    assert main(['place', 'build', str(folder), '-o', str(path), *OWN]) == 0
    return path


def refused(capsys, *arguments) -> str:
    """What the command says when it refuses, without a traceback."""
    assert main(['place', *map(str, arguments)]) == 1
    said = capsys.readouterr().err.strip()
    assert said.startswith('geoloc: ') and 'Traceback' not in said, said
    return said


def test_a_folder_becomes_a_map(built, frames, capsys):
    place = load_place(built)
    assert place.name == 'room' and not place.z_up and place.anchor is None
    names = {f'frame-{k:06d}': frame for k, frame in enumerate(frames)}
    assert place.keyframes
    for keyframe in place.keyframes:
        pose = names[keyframe.name].T_place_camera
        np.testing.assert_allclose(keyframe.T_place_camera, pose, atol=1e-6)
    points = np.concatenate([k.points[k.has_point] for k in place.keyframes])
    assert np.median(np.minimum(abs(points), abs(points - room.SIZE)).min(axis=1)) < 0.005


def test_info_says_what_is_in_it(built, capsys):
    assert main(['place', 'info', str(built)]) == 0
    said = capsys.readouterr().out
    for text in ('sift', 'vlad', 'pinhole, 160 x 120 px', 'nobody said what is up', 'made of'):
        assert text in said
    assert f'{len(load_place(built).keyframes)}, within' in said


def test_check_finds_it_sound_or_not(built, tmp_path, capsys):
    assert main(['place', 'check', str(built)]) == 0
    assert capsys.readouterr().out.strip().endswith('sound')
    content = bytearray(built.read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / 'bad.place').write_bytes(content)
    assert 'is damaged' in refused(capsys, 'check', tmp_path / 'bad.place')
    (tmp_path / 'cut.place').write_bytes(content[:-100])
    assert 'is torn' in refused(capsys, 'info', tmp_path / 'cut.place')


def test_maps_are_joined(folder, built, tmp_path, capsys):
    part = tmp_path / 'part.place'
    build = ['place', 'build', str(folder), '-o', str(part), '--frames', '2:', '--name', 'rest']
    assert main([*build, *OWN]) == 0
    whole = tmp_path / 'whole.place'
    merge = ['merge', built, part, '-o', whole]
    assert '--same-frame' in refused(capsys, *merge)
    assert main(['place', *map(str, merge), '--same-frame', '--name', 'all']) == 0
    place = load_place(whole)
    assert place.name == 'all'
    parts = [len(load_place(path).keyframes) for path in (built, part)]
    assert len(place.keyframes) == sum(parts)
    assert 'is one of the maps' in refused(capsys, 'merge', built, part, '-o', built)


def test_a_map_is_tied_to_the_earth(folder, tmp_path, capsys):
    path = tmp_path / 'anchored.place'
    build = ['build', folder, '-o', path, *OWN, '--anchor', '49.01,8.4,116.5,90']
    assert 'say so with --z-up' in refused(capsys, *build)
    assert main(['place', *map(str, build), '--z-up', '--max-keyframes', '1']) == 0
    anchor = load_place(path).anchor
    assert anchor.datum == Datum(49.01, 8.4, 116.5) and anchor.yaw == pytest.approx(np.pi / 2)
    assert main(['place', 'info', str(path)]) == 0
    assert '90.00 degrees from east' in capsys.readouterr().out


@pytest.fixture(scope='module')
def bag(tmp_path_factory, frames):
    """The room as a robot records it: images, registered depth, mount, true poses, datum."""
    path = tmp_path_factory.mktemp('bags') / 'walk'
    start = 1_700_000_000 * 10**9
    camera = room.CAMERA
    with BagWriter(path) as writer:
        mount = ('base_link', topics.CAMERA_FRAME, room.T_BASE_CAMERA)
        writer.write(topics.TF_STATIC, messages.static_transforms_msg(start, [mount]), start)
        writer.write(topics.TRUTH_DATUM, messages.fix_msg(start, 49.0, 8.4, 110.0, np.eye(3)))
        for frame in frames:
            stamp = start + frame.view.stamp_ns
            info = messages.camera_info_msg(stamp, camera.width, camera.height, camera.K)
            writer.write(topics.CAMERA_INFO, info)
            writer.write(topics.IMAGE, messages.image_msg(stamp, frame.view.image))
            depth = messages.image_msg(stamp, frame.view.depth, '32FC1', topics.CAMERA_FRAME)
            writer.write(topics.DEPTH, depth)
            truth = messages.odometry_msg(stamp, frame.T_place_base, frame_id='map')
            writer.write(topics.TRUTH, truth)
    return path


def test_a_bag_becomes_a_map_in_its_own_place_on_earth(bag, frames, tmp_path):
    path = tmp_path / 'walk.place'
    build = ['place', 'build', str(bag), '-o', str(path), '--max-features', '200']
    assert main(build) == 0
    place = load_place(path)
    assert place.name == 'walk' and place.z_up
    assert place.anchor.datum == Datum(49.0, 8.4, 110.0) and place.anchor.yaw == 0.0
    stamps = {1_700_000_000 * 10**9 + frame.view.stamp_ns: frame for frame in frames}
    for keyframe in place.keyframes:
        frame = stamps[keyframe.stamp_ns]
        np.testing.assert_allclose(keyframe.T_place_camera, frame.T_place_camera, atol=1e-6)
        assert keyframe.has_point.mean() > 0.5
    assert main([*build, '--anchor', 'none']) == 0
    assert load_place(path).anchor is None


def test_what_people_get_wrong(folder, bag, built, tmp_path, capsys):
    out = tmp_path / 'x.place'
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'text.place').write_text('no map')
    for arguments, said in (
        (['build', tmp_path / 'absent', '-o', out], 'no such folder or bag'),
        (['build', tmp_path / 'empty', '-o', out], 'holds no RGB-D frames'),
        (['build', folder, '-o', tmp_path / 'x.npz'], 'ends in .place'),
        (['build', folder, '-o', tmp_path / 'absent' / 'x.place'], 'there is no folder'),
        (['build', folder, '-o', out, '--every', '0'], '--every 0'),
        (['build', folder, '-o', out, '--frames', '5-9'], 'FIRST:LAST'),
        (['build', folder, '-o', out, '--frames', '70:90'], 'not one frame'),
        (['build', folder, '-o', out, '--coverage', '90'], 'coverage is 90'),
        (['build', folder, '-o', out, '--features', 'orb'], 'choose one of sift'),
        (['build', folder, '-o', out, '--anchor', '49,8'], 'LAT,LON,ALT,YAW'),
        (['build', folder, bag, '-o', out], 'is a bag: build a map of each'),
        (['build', bag, '-o', out, '--frames', '0:3'], '--frames is for folders'),
        (['build', bag, '-o', out, '--poses', tmp_path / 'none.tum'], 'no trajectory file'),
        (['info', tmp_path / 'text.place'], 'is no place map'),
        (['check', folder], 'is a folder'),
        (['merge', built, '-o', out], 'two or more'),
    ):
        assert said in refused(capsys, *arguments), arguments
    assert not out.exists()


@pytest.mark.parametrize('command', ['build', 'info', 'check', 'merge'])
def test_help_teaches(command, capsys):
    with pytest.raises(SystemExit) as done:
        main(['place', command, '--help'])
    assert done.value.code == 0
    assert f'geoloc place {command} ' in capsys.readouterr().out.partition('example')[2]


def test_the_page_shows_commands_that_exist():
    page = Path(__file__).resolve().parents[2] / 'docs' / 'place_maps.md'
    text = page.read_text(encoding='utf-8')
    lines = [line.partition('#')[0] for line in text.splitlines() if line.startswith('geoloc ')]
    parsed = [build_parser().parse_args(shlex.split(line)[1:]) for line in lines]
    assert [args.command for args in parsed].count('place') >= 6


def test_the_page_says_what_the_format_is():
    text = (Path(__file__).resolve().parents[2] / 'docs' / 'place_maps.md').read_text('utf-8')
    magic = ' '.join(f'{byte:02X}' for byte in container.MAGIC)
    assert magic in text and f'version ({container.VERSION})' in text
    assert f'over {container.MAX_FILE_BYTES // 10**9} GB' in text
    assert f'more than {container.MAX_UNPACKED_BYTES // 10**9} GB' in text
