# SPDX-License-Identifier: Apache-2.0
"""Plays a bag into the node: `geoloc replay` with /clock, the node on simulated time.

ros2 launch geoloc_ros replay.launch.py bag:=drive.mcap params_file:=my_robot.yaml
"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.conditions import IfCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchDescription

# Topics as geoloc's own bags name them: argument of geoloc.launch.py -> (default here).
BAG_TOPICS = {
    'image': '/camera/image_raw',
    'camera_info': '/camera/camera_info',
    'depth': '/camera/depth/image',
    'depth_info': '/camera/depth/camera_info',
    'fix': '/gnss/fix',
    'odom': '/odom',
    'imu': '/imu/data',
}


def generate_launch_description() -> LaunchDescription:
    """The launch description."""
    share = Path(get_package_share_directory('geoloc_ros'))
    passed_on = {
        'params_file': (str(share / 'config/geoloc.yaml'), 'Parameters of the node.'),
        'namespace': ('', 'Of the node.'),
        'log_level': ('info', 'Of the node.'),
        **{name: (topic, f'Topic of the bag for {name}.') for name, topic in BAG_TOPICS.items()},
    }
    arguments = [
        DeclareLaunchArgument('bag', description='ROS 1 or ROS 2 bag.'),
        DeclareLaunchArgument('rate', default_value='1.0', description='Against real time.'),
        DeclareLaunchArgument('rviz', default_value='false', description='Show it in RViz.'),
        *(
            DeclareLaunchArgument(name, default_value=default, description=text)
            for name, (default, text) in passed_on.items()
        ),
    ]
    geoloc = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(share / 'launch/geoloc.launch.py')),
        launch_arguments={
            'use_sim_time': 'true',
            **{name: LaunchConfiguration(name) for name in passed_on},
        }.items(),
    )
    player = ExecuteProcess(
        cmd=[
            *('ros2', 'run', 'geoloc_ros', 'geoloc', 'replay', LaunchConfiguration('bag')),
            *('--rate', LaunchConfiguration('rate')),
            *('--wait-for', LaunchConfiguration('image')),
        ],
        output='screen',
    )
    rviz = Node(
        package='rviz2',
        executable='rviz2',
        arguments=['-d', str(share / 'config/geoloc.rviz')],
        parameters=[{'use_sim_time': True}],
        condition=IfCondition(LaunchConfiguration('rviz')),
    )
    ends = RegisterEventHandler(
        OnProcessExit(
            target_action=player, on_exit=[EmitEvent(event=Shutdown(reason='the bag has ended'))]
        )
    )
    return LaunchDescription([*arguments, ends, geoloc, rviz, player])
