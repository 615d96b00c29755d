# SPDX-License-Identifier: Apache-2.0
"""A node under test with somebody to talk to: real rclpy, its own domain, a spinning executor."""

import itertools
import os
import threading
import time

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped, QuaternionStamped
from nav_msgs.msg import Odometry
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, Imu, NavSatFix

from geoloc_core.geometry import se3
from geoloc_core.geometry.cameras import PinholeCamera
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.geometry.grid import Grid
from geoloc_core.geometry.ground_plane import BevImage, T_ground_camera, view_from_bev
from geoloc_core.messages.conversions import camera_mount
from geoloc_ros import messages
from geoloc_ros.node import GeolocNode

WIDTH, HEIGHT = 160, 120
DATUM = Datum(48.5, 9.25, 300.0)
CAMERA_XYZ, CAMERA_RPY = (0.5, 0.0, 1.5), (0.0, 0.5, 0.0)
START_NS = 1_700_000_000 * 10**9

# Other test runs on the same machine take other domains, and so do workers of the same run.
_domains = itertools.count(os.getpid())
_WORKERS = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', '1'))
_WORKER = int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0').removeprefix('gw'))

MOUNTS = {
    'frames.camera_xyz': list(CAMERA_XYZ),
    'frames.camera_rpy': list(CAMERA_RPY),
    'frames.antenna_xyz': [0.0, 0.0, 1.0],
    'frames.imu_rpy': [0.0, 0.0, 0.0],
    'datum.lat_deg': DATUM.lat_deg,
    'datum.lon_deg': DATUM.lon_deg,
    'datum.alt_m': DATUM.alt_m,
}


def next_domain() -> int:
    return _WORKERS * (next(_domains) % (100 // _WORKERS)) + _WORKER


class Rig:
    """Publishes what a robot would and keeps everything that comes back."""

    def __init__(self, params=None, *, sim_time=False, qos_depth=50):
        self.context = Context()
        rclpy.init(context=self.context, domain_id=next_domain())
        values = {**MOUNTS, **(params or {}), 'use_sim_time': sim_time}
        overrides = [Parameter(name, value=value) for name, value in values.items()]
        self.node = GeolocNode(context=self.context, parameter_overrides=overrides)
        self.peer = rclpy.create_node('peer', context=self.context)
        qos = QoSProfile(depth=qos_depth)
        self.pub = {
            topic: self.peer.create_publisher(kind, topic, qos)
            for topic, kind in (
                ('image', Image),
                ('image/compressed', CompressedImage),
                ('camera_info', CameraInfo),
                ('depth/image', Image),
                ('fix', NavSatFix),
                ('odom', Odometry),
                ('imu', Imu),
                ('heading', QuaternionStamped),
                ('initialpose', PoseWithCovarianceStamped),
            )
        }
        self.got = {}
        self.listen('geoloc/status', DiagnosticArray)
        self.listen('geoloc/pose', PoseWithCovarianceStamped)
        self.listen('/diagnostics', DiagnosticArray)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.executor.add_node(self.peer)
        self.errors = []
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def _spin(self):
        while self.context.ok():
            try:
                self.executor.spin_once(timeout_sec=0.1)
            except rclpy.executors.ExternalShutdownException:
                return
            except Exception as error:
                if not self.context.ok():
                    return
                self.errors.append(error)

    def close(self):
        self.executor.shutdown(timeout_sec=2)
        self.context.try_shutdown()
        self._thread.join(3)
        self.peer.destroy_node()
        self.node.destroy_node()

    def listen(self, topic, kind, qos=10):
        self.got[topic] = []
        return self.peer.create_subscription(kind, topic, self.got[topic].append, qos)

    def wait(self, condition, what='', timeout=10.0):
        end = time.monotonic() + timeout
        while time.monotonic() < end:
            if condition():
                return
            time.sleep(0.003)
        raise AssertionError(f'waited in vain for {what or condition}')

    def start(self):
        self.node.trigger_configure()
        self.node.trigger_activate()
        assert self.node.session is not None
        topic = 'image'
        if self.node.params()['image.transport'] == 'compressed':
            topic = 'image/compressed'
        for name in (topic, 'camera_info', 'fix', 'odom', 'initialpose'):
            self.wait(lambda name=name: self.pub[name].get_subscription_count(), name)
        self.wait(lambda: self.peer.count_publishers('geoloc/status'), 'status publisher')

    # ---- what a robot says ----

    def fix(self, stamp, x=0.0, y=0.0, std=1.0, kind=2, status=0, **fields):
        lat, lon, alt = EnuFrame(DATUM).geodetic_from_enu(np.array([x, y, 1.0]))
        message = NavSatFix(header=messages.header(stamp, 'gnss_link'))
        message.status.status = status
        message.latitude = fields.get('latitude', float(lat))
        message.longitude = fields.get('longitude', float(lon))
        message.altitude = float(alt)
        message.position_covariance = fields.get(
            'covariance', [std**2, 0.0, 0.0, 0.0, std**2, 0.0, 0.0, 0.0, 4 * std**2]
        )
        message.position_covariance_type = kind
        self.pub['fix'].publish(message)

    def odom(self, stamp, x=0.0, y=0.0, yaw=0.0, speed=0.0, child='base_link'):
        message = Odometry(header=messages.header(stamp, 'odom'), child_frame_id=child)
        message.pose.pose = messages.pose(se3.from_planar(x, y, yaw))
        message.twist.twist.linear.x = float(speed)
        self.pub['odom'].publish(message)

    def initialpose(self, stamp, x=0.0, y=0.0, yaw=0.0, frame='map', std=0.5):
        message = PoseWithCovarianceStamped(header=messages.header(stamp, frame))
        message.pose.pose = messages.pose(se3.from_planar(x, y, yaw))
        message.pose.covariance = messages.covariance(
            np.diag([std**2, std**2, 0.0, 0.0, 0.0, 0.05**2])
        )
        self.pub['initialpose'].publish(message)

    def info(self, stamp, width=WIDTH, height=HEIGHT, zero=False):
        self.pub['camera_info'].publish(info_message(stamp, width, height, zero))

    def image(self, stamp, rgb=None, **changes):
        rgb = np.zeros((HEIGHT, WIDTH, 3), np.uint8) if rgb is None else rgb
        message = messages.image_message(rgb, stamp, 'camera_optical_frame')
        for name, value in changes.items():
            setattr(message, name, value)
        self.pub['image'].publish(message)

    def localize(self, stamp, x=0.0, y=0.0, yaw=0.0):
        """Brings the node to a valid estimate."""
        monitors = self.node.session.monitors
        before = monitors['odom'].received, monitors['initialpose'].received
        self.odom(stamp, x, y, yaw)
        self.wait(lambda: monitors['odom'].received > before[0], 'odom')
        self.initialpose(stamp, x, y, yaw)
        self.wait(lambda: monitors['initialpose'].received > before[1], 'initialpose')

    # ---- what the node said ----

    def status_of(self, stamp, timeout=10.0):
        """(status name, reasons) of the frame with this stamp."""
        found = []

        def look():
            for message in list(self.got['geoloc/status']):
                if to_ns(message.header.stamp) == stamp:
                    found.append({v.key: v.value for v in message.status[0].values})
            return bool(found)

        self.wait(look, f'status of frame {stamp}', timeout)
        return found[0]['status'], found[0]['reasons']

    def ready(self, stamp):
        """Calibration has arrived."""
        monitor = self.node.session.monitors['camera_info']
        before = monitor.received
        self.info(stamp)
        self.wait(lambda: monitor.received > before, 'camera_info')


def to_ns(stamp):
    return stamp.sec * 10**9 + stamp.nanosec


def info_message(stamp, width=WIDTH, height=HEIGHT, zero=False, camera=None):
    message = CameraInfo(header=messages.header(stamp, 'camera_optical_frame'))
    message.width, message.height = width, height
    message.distortion_model = 'plumb_bob'
    message.d = [0.0] * 5
    if not zero:
        camera = camera or pinhole(width, height)
        message.k = [camera.fx, 0.0, camera.cx, 0.0, camera.fy, camera.cy, 0.0, 0.0, 1.0]
        message.p = [*message.k[:3], 0.0, *message.k[3:6], 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def pinhole(width=WIDTH, height=HEIGHT):
    return PinholeCamera(width, height, 100.0, 100.0, (width - 1) / 2, (height - 1) / 2)


def aerial_texture(height=500, width=600, seed=1):
    """Blobs and stripes that look alike nowhere."""
    random = np.random.default_rng(seed)
    texture = np.zeros((height, width, 3), np.float32)
    for size in (4, 10, 30):
        noise = random.uniform(0, 255, (height // size + 2, width // size + 2, 3))
        texture += cv2.resize(noise.astype(np.float32), (width, height)) / 3
    texture = (texture > 127) * 90 + 80 + random.uniform(-20, 20, texture.shape)
    return np.clip(texture, 0, 255).astype(np.uint8)


def write_map(path, texture, gsd=0.2):
    """A GeoTIFF whose middle is the datum, in UTM (the ENU frame is a little turned to it)."""
    import pyproj
    import rasterio
    from rasterio.transform import from_origin

    height, width = texture.shape[:2]
    east, north = pyproj.Transformer.from_crs(4326, 32632, always_xy=True).transform(
        DATUM.lon_deg, DATUM.lat_deg
    )
    transform = from_origin(east - width / 2 * gsd, north + height / 2 * gsd, gsd, gsd)
    with rasterio.open(
        path,
        'w',
        driver='GTiff',
        height=height,
        width=width,
        count=3,
        dtype='uint8',
        crs='EPSG:32632',
        transform=transform,
    ) as out:
        out.write(np.moveaxis(texture, -1, 0))
    return str(path)


def view_of(map_source, x, y, yaw, camera=None):
    """What the rig's camera (or another) sees of the map's ground from a pose."""
    size_m, gsd = 50.0, 0.1
    patch = map_source.patch(EnuFrame(DATUM), (x, y), size_m, gsd)
    side = round(size_m / gsd)
    turned = cv2.warpAffine(
        patch.image,
        cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), -np.degrees(yaw), 1.0),
        (side, side),
    )
    bev = BevImage(turned, np.ones((side, side), bool), Grid((0.0, 0.0), gsd, side, side))
    mount = T_ground_camera(camera_mount(CAMERA_XYZ, CAMERA_RPY), 0.0, 0.0, 0.0)
    image, _ = view_from_bev(bev, camera or pinhole(), mount)
    return image
