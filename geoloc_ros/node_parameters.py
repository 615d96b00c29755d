# SPDX-License-Identifier: Apache-2.0
"""The node's own parameters, for `parameters.py`. Data only."""

import math
from typing import Any

from geoloc_core.runtime.engine_choice import ENGINES

NAN = math.nan
NOT_GIVEN = [NAN, NAN, NAN]


def _p(name: str, type_: str, default: Any, text: str, **limits: Any) -> dict[str, Any]:
    return {'name': name, 'type': type_, 'default': default, 'text': text, **limits}


NODE_PARAMETERS: list[dict[str, Any]] = [
    _p(
        'autostart',
        'bool',
        False,
        'Configure and activate at start, for `ros2 run`; leave false where a launch file or a '
        'lifecycle manager does it.',
    ),
    _p(
        'place_map',
        'string',
        '',
        'Map of a place (geoloc place build), in which colour and depth tell the pose, without '
        'GNSS. Empty: none.',
    ),
    _p('frames.map', 'string', 'map', 'Local east-north-up frame at the datum (REP-105).'),
    _p('frames.odom', 'string', 'odom', 'Continuous frame of the odometry.'),
    _p('frames.base', 'string', 'base_link', 'The robot: x forward, y left, z up.'),
    _p(
        'frames.camera_xyz',
        'double_array',
        NOT_GIVEN,
        'Camera in the base frame, m. Used where /tf_static does not tell it.',
        low=-100,
        high=100,
    ),
    _p(
        'frames.camera_rpy',
        'double_array',
        NOT_GIVEN,
        'Roll, pitch, yaw of the camera body (x forward, y left, z up, not the optical axes) in '
        'the base frame, rad; 0 0 0 looks straight ahead, positive pitch looks down, positive yaw '
        'looks left. Used where /tf_static does not tell it.',
        low=-6.2832,
        high=6.2832,
    ),
    _p(
        'frames.antenna_xyz',
        'double_array',
        NOT_GIVEN,
        'GNSS antenna in the base frame, m. Used where /tf_static does not tell it.',
        low=-100,
        high=100,
    ),
    _p(
        'frames.imu_rpy',
        'double_array',
        NOT_GIVEN,
        'Roll, pitch, yaw of the IMU in the base frame, rad. Used where /tf_static does not tell '
        'it.',
        low=-6.2832,
        high=6.2832,
    ),
    _p(
        'frames.depth_xyz',
        'double_array',
        NOT_GIVEN,
        "Depth camera in the colour camera's body axes (x forward, y left, z up), m. Used where "
        '/tf_static does not tell it and depth is not registered by the driver.',
        low=-10,
        high=10,
    ),
    _p(
        'frames.depth_rpy',
        'double_array',
        NOT_GIVEN,
        'Roll, pitch, yaw of the depth camera in the same axes, rad; 0 0 0 looks where the colour '
        'camera does.',
        low=-6.2832,
        high=6.2832,
    ),
    _p(
        'image.transport',
        'string',
        'raw',
        'Which topic to subscribe: image, or image/compressed (JPEG, PNG).',
        choices=('raw', 'compressed'),
    ),
    _p(
        'image.rectified',
        'bool',
        False,
        'The images are rectified ones: use P of camera_info and no distortion.',
    ),
    _p(
        'image.use_cv_bridge',
        'bool',
        True,
        'Let cv_bridge decode plain encodings where it is installed.',
    ),
    _p(
        'depth.enabled',
        'bool',
        False,
        'Subscribe depth/image, and depth/camera_info for depth that is not registered to the '
        'camera.',
    ),
    _p(
        'depth.transport',
        'string',
        'raw',
        'Which topic to subscribe: depth/image (16UC1, 32FC1), or depth/image/compressedDepth '
        '(PNG).',
        choices=('raw', 'compressed'),
    ),
    _p(
        'heading.convention',
        'string',
        'enu_yaw',
        'Angle about z in `heading`: enu_yaw is 0 = east, counter-clockwise (REP-103); '
        'ned_heading is the compass angle, 0 = north, clockwise.',
        choices=('enu_yaw', 'ned_heading'),
    ),
    _p(
        'heading.offset_deg',
        'double',
        0.0,
        'Angle of the device minus that of the robot, counter-clockwise, degrees.',
        low=-360,
        high=360,
    ),
    _p('heading.std_deg', 'double', 3.0, 'Its standard deviation, degrees.', low=0.01, high=180),
    _p(
        'fix.default_std_m',
        'double',
        5.0,
        'Horizontal standard deviation of a fix that gives none (type 0 or zeros), m; twice that '
        'vertically.',
        low=0.01,
        high=1000,
    ),
    _p(
        'initial_pose.default_std_m',
        'double',
        2.0,
        'Standard deviation of axes for which initialpose gives none, m.',
        low=0.01,
        high=1000,
    ),
    _p(
        'initial_pose.default_std_deg',
        'double',
        10.0,
        'Standard deviation of angles for which initialpose gives none, degrees.',
        low=0.01,
        high=180,
    ),
    _p(
        'time.max_ahead_s',
        'double',
        1.0,
        'Stamps further ahead of ROS time than this are refused, s.',
        low=0.01,
        high=3600,
    ),
    _p(
        'time.max_extrapolation_s',
        'double',
        1.0,
        'Longest time that ~/odometry and the transform are carried beyond the newest input, s.',
        low=0,
        high=10,
    ),
    _p(
        'map.path',
        'string',
        '',
        'Aerial map: a GeoTIFF, an MBTiles file, a folder of tiles, or a template with {z} {x} '
        '{y}. Empty: no map, images are refused with NO_MAP.',
    ),
    _p('map.attribution', 'string', '', 'Who must be named where the map is shown.'),
    _p('map.cache_dir', 'string', '', 'Where downloaded tiles are kept; empty: the user cache.'),
    _p('map.cache_size_mb', 'double', 1024.0, 'Limit of that cache, MiB.', low=1, high=1e7),
    _p(
        'map.cache_days',
        'double',
        30.0,
        'Tiles older than this are fetched anew, days.',
        low=0,
        high=36500,
    ),
    _p('map.min_zoom', 'integer', 0, 'For a URL: coarsest zoom the server has.', low=0, high=24),
    _p('map.max_zoom', 'integer', 19, 'For a URL: finest zoom the server has.', low=0, high=24),
    _p(
        'map.tile_px',
        'integer',
        0,
        'For a URL: side of its tiles, px; 0: 512 if it says @2x, else 256.',
        low=0,
        high=4096,
    ),
    _p(
        'map.timeout_s',
        'double',
        5.0,
        'For a URL: longest wait for one answer, s.',
        low=0.1,
        high=120,
    ),
    _p(
        'map.crs',
        'string',
        '',
        'For a GeoTIFF: reference system to use instead of the one it states; empty: as stated.',
    ),
    _p(
        'map.memory_mb',
        'double',
        256.0,
        'Memory for decoded blocks of the map, MiB.',
        low=1,
        high=65536,
    ),
    _p(
        'model.path',
        'string',
        '',
        'Model bundle: a folder (model.onnx, model.json) or one file (.geoloc); empty: the '
        'classical matcher.',
    ),
    _p(
        'model.threads',
        'integer',
        0,
        'Threads of one inference on the CPU; 0: one less than there are cores, which leaves that '
        'one to the rest of the robot, but 2 on two cores, and 4 at most.',
        low=0,
        high=64,
    ),
    _p(
        'model.engine',
        'string',
        'auto',
        'What runs networks: auto takes TensorRT, TensorRT-RTX or onnxruntime with CUDA where '
        'there is a GPU, and the CPU otherwise. One asked for by name must be there. All begin on '
        'the CPU, change over when ready and proven, and return to it when the GPU fails. torch '
        'is for development and runs model.torch_weights.',
        choices=ENGINES,
    ),
    _p(
        'model.engine_cache',
        'string',
        '',
        'Folder of built TensorRT engines (geoloc model build); empty: the user cache.',
    ),
    _p(
        'model.torch_weights',
        'string',
        '',
        'For the engine torch: the weights (.safetensors) that model.path was exported from.',
    ),
    _p(
        'place.xyz',
        'double_array',
        NOT_GIVEN,
        'For a place that is not tied to the Earth: its origin in the map frame, m. Not given: '
        'the two frames are one, turned upright where the place does not know which way is up '
        '(then its y is taken for down and its z for forward).',
        low=-1e6,
        high=1e6,
    ),
    _p(
        'place.rpy',
        'double_array',
        NOT_GIVEN,
        'Roll, pitch, yaw of its frame in the map frame, rad.',
        low=-6.2832,
        high=6.2832,
    ),
    _p(
        'place.descriptor',
        'string',
        '',
        'Bundle of the network that described the pictures of the place map; empty for a map '
        'that was built without one.',
    ),
    _p(
        'regressor.path',
        'string',
        '',
        'Bundle of a pose network trained on this place: asked where geometry finds nothing. '
        'Empty: none.',
    ),
    _p(
        'output.odometry_rate_hz',
        'double',
        20.0,
        'Rate of ~/odometry, ~/map_to_odom and /tf, Hz.',
        low=0.1,
        high=200,
    ),
    _p(
        'output.publish_tf',
        'bool',
        True,
        'Publish map -> odom on /tf (needs tf2_msgs; ~/map_to_odom is published in any case).',
    ),
    _p('output.require_tf', 'bool', False, 'Refuse to configure where tf2_msgs is not installed.'),
    _p(
        'output.tf_tolerance_s',
        'double',
        0.1,
        'The transform on /tf is stamped this far ahead, so that listeners need not wait, s.',
        low=0,
        high=5,
    ),
    _p(
        'output.path_step_m',
        'double',
        0.5,
        'Distance between poses of ~/path, m.',
        low=0.01,
        high=1000,
    ),
    _p('output.path_length', 'integer', 4000, 'Poses kept in ~/path.', low=1, high=1000000),
    _p(
        'output.match_image_rate_hz',
        'double',
        5.0,
        'Highest rate of ~/match_image, drawn only while somebody listens, Hz.',
        low=0.01,
        high=100,
    ),
]
