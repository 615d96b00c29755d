# SPDX-License-Identifier: Apache-2.0
"""Starts the node and, unless autostart is false, configures and activates it.

ros2 launch geoloc_ros geoloc.launch.py params_file:=my_robot.yaml image:=/front/image_raw
"""

from pathlib import Path
from typing import Any

from ament_index_python.packages import get_package_share_directory
from launch.actions import DeclareLaunchArgument, EmitEvent, RegisterEventHandler
from launch.conditions import IfCondition
from launch.events import matches_action
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import LifecycleNode
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from launch_ros.parameter_descriptions import ParameterValue
from lifecycle_msgs.msg import Transition

from launch import LaunchDescription

# Topics of the node that a robot names otherwise: launch argument -> (topic, default).
TOPICS = {
    'image': 'image',
    'camera_info': 'camera_info',
    'depth': 'depth/image',
    'depth_info': 'depth/camera_info',
    'fix': 'fix',
    'odom': 'odom',
    'imu': 'imu',
    'heading': 'heading',
    'initialpose': 'initialpose',
}


def generate_launch_description() -> LaunchDescription:
    """The launch description."""
    default_params = str(Path(get_package_share_directory('geoloc_ros')) / 'config/geoloc.yaml')
    arguments = [
        DeclareLaunchArgument('namespace', default_value='', description='Of the node.'),
        DeclareLaunchArgument(
            'use_sim_time', default_value='false', description='Take time from /clock.'
        ),
        DeclareLaunchArgument(
            'params_file', default_value=default_params, description='Parameters of the node.'
        ),
        DeclareLaunchArgument(
            'autostart', default_value='true', description='Configure and activate the node.'
        ),
        DeclareLaunchArgument('log_level', default_value='info', description='Of the node.'),
        *(
            DeclareLaunchArgument(
                name, default_value=topic, description=f'Topic to use for {topic}.'
            )
            for name, topic in TOPICS.items()
        ),
    ]
    image = LaunchConfiguration('image')
    depth = LaunchConfiguration('depth')
    remappings = [(topic, LaunchConfiguration(name)) for name, topic in TOPICS.items()]
    remappings += [
        ('image/compressed', [image, '/compressed']),
        ('depth/image/compressedDepth', [depth, '/compressedDepth']),
    ]
    node = LifecycleNode(
        package='geoloc_ros',
        executable='geoloc_node',
        name='geoloc',
        namespace=LaunchConfiguration('namespace'),
        parameters=[
            LaunchConfiguration('params_file'),
            {
                'use_sim_time': ParameterValue(
                    LaunchConfiguration('use_sim_time'), value_type=bool
                ),
                # The transitions below start it; twice would be once too often.
                'autostart': False,
            },
        ],
        remappings=remappings,
        arguments=['--ros-args', '--log-level', LaunchConfiguration('log_level')],
        output='screen',
    )
    autostart = IfCondition(LaunchConfiguration('autostart'))
    # Activate after configuring only: a node that somebody deactivated by hand also comes to
    # 'inactive', and must stay there.
    activate = RegisterEventHandler(
        OnStateTransition(
            target_lifecycle_node=node,
            start_state='configuring',
            goal_state='inactive',
            entities=[_change(node, Transition.TRANSITION_ACTIVATE)],
        ),
        condition=autostart,
    )
    configure = _change(node, Transition.TRANSITION_CONFIGURE, condition=autostart)
    # The handler stands before the event that leads to it.
    return LaunchDescription([*arguments, activate, node, configure])


def _change(node: LifecycleNode, transition: int, **options: Any) -> EmitEvent:
    """The event that asks the node for a transition."""
    change = ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
    return EmitEvent(event=change, **options)
