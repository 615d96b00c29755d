# SPDX-License-Identifier: Apache-2.0
"""`geoloc demo`: a rendered drive through the real node, recorded, scored and reported.

The node is a process of its own and gets what a robot's node would get: pictures, camera_info,
fixes, odometry, inertial samples and a map. The truth is in the bag but is not played.
"""

from dataclasses import dataclass
import json
import os
from pathlib import Path
import sys
import time
from typing import Any

import numpy as np

from geoloc_core.bags import topics
from geoloc_core.errors import ConfigError
from geoloc_core.geometry import se3
from geoloc_core.simulation.robots.drive import Drive, make_drive, R_BODY_OPTICAL
from geoloc_ros.demo_node import free_domain, NodeProcess, ros_environment

MATCHERS = ('learned', 'classical')
# Name inside the node -> topic of the bag.
REMAP = {
    'image/compressed': topics.COMPRESSED,
    'camera_info': topics.CAMERA_INFO,
    'fix': topics.FIX,
    'odom': topics.ODOMETRY,
    'imu': topics.IMU,
}


@dataclass(frozen=True)
class DemoOptions:
    """What the demo shall do.

    Attributes:
        out: Folder for everything it makes.
        seed: Of the city, the route and every error.
        duration: Of the drive, s.
        rate: Speed of the replay against real time.
        camera: 'pinhole', 'fisheye' or 'panorama'.
        keep: Take the drive that is in `out` already, if it was made with the same options.
        matcher: 'learned' (the bundle of `config/models/geoloc`) or 'classical'.
    """

    out: Path
    seed: int = 0
    duration: float = 160.0
    rate: float = 1.0
    camera: str = 'pinhole'
    keep: bool = False
    matcher: str = 'learned'

    def drive_options(self) -> dict[str, Any]:
        """What decides about the drive's content."""
        return {'seed': self.seed, 'duration': self.duration, 'camera': self.camera}


def outage_of(duration: float) -> tuple[float, float]:
    """The span without satellites: 60 s after the first three eighths, less in short drives."""
    length = min(60.0, 0.4 * duration)
    return round(0.375 * duration, 3), round(0.375 * duration + length, 3)


def demo_drive(options: DemoOptions) -> Drive:
    """The drive the demo shows; nothing is rendered yet."""
    from geoloc_core.simulation.world import make_world

    return make_drive(
        make_world(options.seed),
        seed=options.seed,
        duration=options.duration,
        camera=options.camera,
        outage=outage_of(options.duration),
    )


def default_config(name: str) -> Path:
    """A file or folder of `config/`, beside the code or where the package was installed.

    Raises:
        ConfigError: It is in neither place.
    """
    prefixes = [*filter(None, os.environ.get('AMENT_PREFIX_PATH', '').split(':')), sys.prefix]
    places = [Path(__file__).resolve().parents[1] / 'config' / name]
    places += [Path(prefix) / 'share' / 'geoloc_ros' / 'config' / name for prefix in prefixes]
    for place in places:
        if place.exists():
            return place
    raise ConfigError(f'{name} is missing; looked for {" and ".join(map(str, places))}')


def write_params(
    path: Path, drive: Drive, map_path: Path, more: dict[str, Any] | None = None
) -> None:
    """Writes the node's parameter file: `config/demo.yaml`, the map, and the sensors' mounts.

    Args:
        path: Of the file.
        drive: Whose sensors.
        map_path: The aerial map.
        more: Further groups of parameters.
    """
    import yaml

    tree = yaml.safe_load(default_config('demo.yaml').read_text(encoding='utf-8'))
    params = tree['/**']['ros__parameters']
    T_base_body = drive.rig.T_base_camera @ se3.make(R_BODY_OPTICAL.T, np.zeros(3))
    params['map'] = {'path': str(map_path.resolve())}
    params['matcher'] = {
        **params.get('matcher', {}),
        'base_height_m': round(float(drive.trajectory.xyz[0, 2]), 6),
    }
    params['frames'] = {
        'camera_xyz': [round(float(v), 6) for v in T_base_body[:3, 3]],
        'camera_rpy': [round(float(v), 9) + 0.0 for v in se3.rpy_from(T_base_body)],
        'antenna_xyz': [float(v) for v in drive.gnss.antenna_in_base],
        'imu_rpy': [0.0, 0.0, 0.0],
    }
    if drive.depth is not None:
        params['depth'] = {'enabled': True}
    params.update(more or {})
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding='utf-8')


def choose_matcher(path: Path, matcher: str) -> None:
    """Writes into a parameter file which matcher the node shall use.

    Args:
        path: Of the file.
        matcher: 'learned' or 'classical'.

    Raises:
        ConfigError: Another name, or the bundle is missing.
    """
    import yaml

    if matcher not in MATCHERS:
        raise ConfigError(f'no matcher is called {matcher!r}: choose one of {MATCHERS}')
    tree = yaml.safe_load(path.read_text(encoding='utf-8'))
    bundle = str(default_config('models/geoloc').resolve()) if matcher == 'learned' else ''
    tree['/**']['ros__parameters']['model'] = {'path': bundle}
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding='utf-8')


def require_packages() -> None:
    """Makes sure that what the demo needs is installed, before any work is done.

    Raises:
        ConfigError: Something is missing; the message says how to get it.
    """
    import importlib.util

    needed = {
        'embreex': 'sim',
        'rclpy': 'ros',
        'rosgraph_msgs': 'ros',
        'matplotlib': 'viz',
        'onnxruntime': 'onnx',
    }
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        extras = ','.join(sorted({needed[name] for name in missing}))
        raise ConfigError(
            f'the demo needs {", ".join(missing)}: run `make demo`, or pip install -e '
            f"'.[{extras}]' in a checkout of geoloc"
        )


def run_demo(options: DemoOptions) -> dict[str, Any]:
    """Makes the drive, runs the node on it and writes the results.

    Args:
        options: What to do.

    Returns:
        Content of `metrics.json`.

    Raises:
        GeolocError: Something is missing, the node died or never listened.
    """
    from tqdm import tqdm

    from geoloc_core.bags.reader import read_bag
    from geoloc_core.maps.opening import open_map
    from geoloc_ros.bags.results import write_results
    from geoloc_ros.bags.run import read_inputs
    from geoloc_ros.bags.scoring import score
    from geoloc_ros.parameters import load_params_file

    require_packages()
    begin = time.monotonic()
    out = options.out
    out.mkdir(parents=True, exist_ok=True)
    bag_path, map_path, params_path = prepare(options)
    choose_matcher(params_path, options.matcher)
    rendered = time.monotonic()

    environment = ros_environment(free_domain())
    os.environ.update(environment)
    with read_bag(bag_path) as reader:
        inputs = read_inputs(reader)
        child = NodeProcess(params_path, out / 'node.log', remap=REMAP, environment=environment)
        form = '{desc} {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} s [{elapsed}]'
        with child, tqdm(total=reader.duration_s, desc='replaying', bar_format=form) as bar:
            from geoloc_ros.demo_live import replay_to_node

            run = replay_to_node(
                child,
                reader,
                inputs,
                played=tuple(REMAP.values()),
                image_topic=topics.COMPRESSED,
                out=out,
                rate=options.rate,
                progress=bar.update,
            )
    run.parameters.update(load_params_file(params_path))
    run.details['drive'] = json.loads((out / 'drive.json').read_text(encoding='utf-8'))
    run.details['render_s'] = round(rendered - begin, 1)
    result = score(run, inputs, name='demo')
    map_source = open_map(map_path)
    try:
        write_results(out, result, map_source)
    finally:
        map_source.close()
    return result.metrics


def prepare(options: DemoOptions) -> tuple[Path, Path, Path]:
    """Renders the drive unless it is there already; paths of the bag, the map, the parameters."""
    from tqdm import tqdm

    from geoloc_ros.demo_drive import write_drive

    out = options.out
    paths = out / 'drive', out / 'map.tif', out / 'params.yaml'
    made_with = out / 'options.json'
    if (
        options.keep
        and all(path.exists() for path in (*paths, made_with))
        and json.loads(made_with.read_text(encoding='utf-8')) == options.drive_options()
    ):
        return paths
    made_with.unlink(missing_ok=True)
    print('building a city ...', flush=True)
    drive = demo_drive(options)
    with tqdm(total=len(drive.frame_times()), desc='rendering', unit=' pictures') as bar:
        write_drive(out, drive, progress=bar.update)
    write_params(paths[2], drive, paths[1])
    made_with.write_text(json.dumps(options.drive_options()) + '\n', encoding='utf-8')
    return paths
