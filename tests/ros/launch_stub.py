# SPDX-License-Identifier: Apache-2.0
"""Records what a launch file says, where launch and launch_ros (no wheels) are not installed."""

import importlib.util
import sys
from types import ModuleType


class Recorded:
    """Whatever a launch file makes: its class's name, arguments and keywords."""

    def __init__(self, *args, **kwargs):
        self.args = args
        self.kwargs = kwargs

    def __getattr__(self, name):
        try:
            return self.kwargs[name]
        except KeyError:
            raise AttributeError(name) from None


MODULES = {
    'launch': ('LaunchDescription',),
    'launch.actions': (
        'DeclareLaunchArgument',
        'EmitEvent',
        'ExecuteProcess',
        'IncludeLaunchDescription',
        'RegisterEventHandler',
    ),
    'launch.conditions': ('IfCondition',),
    'launch.event_handlers': ('OnProcessExit',),
    'launch.events': ('Shutdown', 'matches_action'),
    'launch.launch_description_sources': ('PythonLaunchDescriptionSource',),
    'launch.substitutions': ('LaunchConfiguration',),
    'launch_ros': (),
    'launch_ros.actions': ('LifecycleNode', 'Node'),
    'launch_ros.event_handlers': ('OnStateTransition',),
    'launch_ros.events': (),
    'launch_ros.events.lifecycle': ('ChangeState',),
    'launch_ros.parameter_descriptions': ('ParameterValue',),
}


def install(monkeypatch, share):
    """Puts the stubs in sys.modules; the package's share folder is `share`."""
    for name, members in MODULES.items():
        module = ModuleType(name)
        for member in members:
            setattr(module, member, type(member, (Recorded,), {}))
        monkeypatch.setitem(sys.modules, name, module)
    index = ModuleType('ament_index_python.packages')
    index.get_package_share_directory = lambda package: str(share)
    parent = ModuleType('ament_index_python')
    parent.packages = index
    monkeypatch.setitem(sys.modules, 'ament_index_python', parent)
    monkeypatch.setitem(sys.modules, 'ament_index_python.packages', index)


def load(path):
    """The launch description that a file makes."""
    spec = importlib.util.spec_from_file_location(path.stem.replace('.', '_'), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()
