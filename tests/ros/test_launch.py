# SPDX-License-Identifier: Apache-2.0
"""What the launch files say, read through a recording stub."""

from pathlib import Path

import pytest

pytest.importorskip('lifecycle_msgs')

from lifecycle_msgs.msg import Transition

from tests.ros import launch_stub

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def described(monkeypatch):
    """Entities of a launch file by the name of their class."""

    def describe(name):
        launch_stub.install(monkeypatch, ROOT)
        entities = launch_stub.load(ROOT / 'launch' / name).args[0]
        by_kind = {}
        for entity in entities:
            by_kind.setdefault(type(entity).__name__, []).append(entity)
        return by_kind

    return describe


def arguments(described):
    return {a.args[0]: a.kwargs.get('default_value') for a in described['DeclareLaunchArgument']}


def configuration(value):
    """Name behind a LaunchConfiguration."""
    assert type(value).__name__ == 'LaunchConfiguration'
    return value.args[0]


def test_arguments_of_the_node(described):
    got = arguments(described('geoloc.launch.py'))
    expected = {
        'namespace': '',
        'use_sim_time': 'false',
        'autostart': 'true',
        'log_level': 'info',
        'image': 'image',
        'fix': 'fix',
    }
    assert expected.items() <= got.items()
    assert Path(got['params_file']) == ROOT / 'config/geoloc.yaml'
    assert Path(got['params_file']).exists()


def test_the_node_gets_its_arguments_and_topics(described):
    (node,) = described('geoloc.launch.py')['LifecycleNode']
    assert (node.package, node.executable, node.name) == ('geoloc_ros', 'geoloc_node', 'geoloc')
    assert configuration(node.namespace) == 'namespace'
    assert configuration(node.parameters[0]) == 'params_file'
    assert configuration(node.parameters[1]['use_sim_time'].args[0]) == 'use_sim_time'
    assert node.parameters[1]['use_sim_time'].value_type is bool
    assert node.parameters[1]['autostart'] is False
    assert node.arguments[:2] == ['--ros-args', '--log-level']
    remaps = dict(node.remappings)
    assert configuration(remaps['depth/image']) == 'depth'
    assert [configuration(remaps['image/compressed'][0]), remaps['image/compressed'][1]] == [
        'image',
        '/compressed',
    ]


def test_it_is_configured_at_start_and_activated_after_that_alone(described):
    entities = described('geoloc.launch.py')
    (node,) = entities['LifecycleNode']
    (configure,) = entities['EmitEvent']
    assert configure.event.transition_id == Transition.TRANSITION_CONFIGURE
    assert configure.event.lifecycle_node_matcher.args == (node,)
    assert configuration(configure.condition.args[0]) == 'autostart'
    (handler,) = entities['RegisterEventHandler']
    assert configuration(handler.condition.args[0]) == 'autostart'
    when = handler.args[0]
    assert when.target_lifecycle_node is node
    # A node deactivated by hand comes to 'inactive' as well and must stay there.
    assert (when.start_state, when.goal_state) == ('configuring', 'inactive')
    (activate,) = when.entities
    assert activate.event.transition_id == Transition.TRANSITION_ACTIVATE


def test_replay_plays_a_bag_into_the_node(described):
    entities = described('replay.launch.py')
    assert {'bag', 'rate', 'rviz', 'params_file', 'image', 'fix'} <= arguments(entities).keys()
    (include,) = entities['IncludeLaunchDescription']
    source = Path(include.args[0].args[0])
    assert source.exists()
    passed = dict(include.launch_arguments)
    assert passed.pop('use_sim_time') == 'true'
    known = arguments(described('geoloc.launch.py'))
    assert passed.keys() <= known.keys()
    (player,) = entities['ExecuteProcess']
    assert player.cmd[:5] == ['ros2', 'run', 'geoloc_ros', 'geoloc', 'replay']
    assert configuration(player.cmd[5]) == 'bag'
    # The command line knows every option that is used.
    from geoloc_ros.cli.main import build_parser

    words = [word if isinstance(word, str) else '1' for word in player.cmd[4:]]
    assert build_parser().parse_args(words).command == 'replay'
