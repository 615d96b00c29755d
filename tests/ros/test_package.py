# SPDX-License-Identifier: Apache-2.0
"""The package as ROS tools see it: manifest, profile, policy, colcon."""

import os
from pathlib import Path
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as xml

import pytest

import geoloc_core

ROOT = Path(__file__).resolve().parents[2]


def test_the_manifest_is_valid_and_agrees_with_the_package():
    package_tools = pytest.importorskip('catkin_pkg.package')
    package = package_tools.parse_package(str(ROOT))
    package.validate()
    assert (package.name, package.version) == ('geoloc_ros', geoloc_core.__version__)
    assert package.package_format == 3
    assert package.get_build_type() == 'ament_python'
    assert package.licenses == ['Apache-2.0']


def test_every_ros_package_that_is_imported_is_declared():
    package_tools = pytest.importorskip('catkin_pkg.package')
    package = package_tools.parse_package(str(ROOT))
    declared = {d.name for d in package.exec_depends}
    imported = set()
    for path in [*(ROOT / 'geoloc_ros').glob('**/*.py'), *(ROOT / 'launch').glob('*.py')]:
        imported |= set(
            re.findall(
                r'^\s*(?:from|import) (\w+_msgs|\w+_srvs|rclpy|launch\w*|\w+_interfaces)\b',
                path.read_text(encoding='utf-8'),
                re.MULTILINE,
            )
        )
    assert imported <= declared, imported - declared


def test_the_resource_marker_and_the_executables_are_there():
    assert (ROOT / 'resource/geoloc_ros').exists()
    setup = (ROOT / 'setup.py').read_text(encoding='utf-8')
    assert 'geoloc_node = geoloc_ros.node:main' in setup
    assert 'lib/geoloc_ros' in (ROOT / 'setup.cfg').read_text(encoding='utf-8')


def test_the_fast_dds_profile_holds_a_large_image():
    name = '{http://www.eprosima.com/XMLSchemas/fastRTPS_Profiles}'
    tree = xml.parse(ROOT / 'config/fastdds_large_images.xml')
    size = int(tree.find(f'.//{name}segment_size').text)
    assert size >= 5 * 1920 * 1080 * 3 // 2
    assert int(tree.find(f'.//{name}maxMessageSize').text) >= 1920 * 1080 * 3


def test_the_security_policy_names_the_topics_of_the_node(rig, map_path):
    r = rig({'map.path': map_path, 'depth.enabled': True})
    r.start()
    tree = xml.parse(ROOT / 'config/sros2_policy.xml')

    def named(kind, tag):
        return {
            re.sub(r'^~', '/geoloc', t.text) if t.text[0] in '~/' else '/' + t.text
            for group in tree.iter(f'{tag}s')
            if kind in group.attrib
            for t in group
        }

    graph = r.peer
    published = {t for t, _ in graph.get_publisher_names_and_types_by_node('geoloc', '/')}
    subscribed = {t for t, _ in graph.get_subscriber_names_and_types_by_node('geoloc', '/')}
    served = {t for t, _ in graph.get_service_names_and_types_by_node('geoloc', '/')}
    assert published <= named('publish', 'topic'), published
    assert subscribed <= named('subscribe', 'topic'), subscribed
    assert {s for s in served if 'type_description' not in s} <= named('reply', 'service'), served


@pytest.mark.slow
@pytest.mark.parametrize('option', [[], ['--symlink-install']])
def test_colcon_builds_it_and_the_executable_runs(tmp_path, option):
    colcon = os.environ.get('GEOLOC_COLCON') or shutil.which('colcon')
    if not colcon:
        pytest.skip('colcon is not installed (GEOLOC_COLCON names one)')
    source = tmp_path / 'ws/src/geoloc_ros'
    ignored = shutil.ignore_patterns('.git', 'out', '.venv', 'build', '*.egg-info', '__pycache__')
    shutil.copytree(ROOT, source, ignore=ignored)
    env = {k: v for k, v in os.environ.items() if not k.startswith(('_ROS_WHEELS', 'PYTEST'))}
    env['AMENT_PREFIX_PATH'] = sys.prefix
    build = subprocess.run(
        [colcon, 'build', *option],
        cwd=tmp_path / 'ws',
        env=env,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert build.returncode == 0, build.stdout + build.stderr
    installed = tmp_path / 'ws/install/geoloc_ros'
    for path in (
        'lib/geoloc_ros/geoloc_node',
        'lib/geoloc_ros/geoloc',
        'share/geoloc_ros/package.xml',
        'share/geoloc_ros/launch/geoloc.launch.py',
        'share/geoloc_ros/config/geoloc.yaml',
        'share/ament_index/resource_index/packages/geoloc_ros',
    ):
        assert (installed / path).exists(), path
    site = next(installed.glob('lib/python3*/site-packages'))
    env['PYTHONPATH'] = str(site)
    for egg in (tmp_path / 'ws/build').glob('geoloc_ros'):
        env['PYTHONPATH'] += f':{egg}'
    run = subprocess.run(
        [sys.executable, str(installed / 'lib/geoloc_ros/geoloc'), '--version'],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert geoloc_core.__version__ in run.stdout
