# SPDX-License-Identifier: Apache-2.0
"""geoloc bag: look into a bag, make one from KITTI or from RGB-D frames."""

import argparse
from functools import partial
import math

from geoloc_core.errors import BagError
from geoloc_ros.cli import bag_from_rgbd


def register(subparsers) -> None:
    """Adds `geoloc bag`."""
    parser = subparsers.add_parser(
        'bag', help='look into bags, make one from a KITTI drive or from RGB-D frames'
    )
    commands = parser.add_subparsers(dest='bag_command', metavar='COMMAND', required=True)

    info = commands.add_parser(
        'info',
        help='topics, rates, and what geoloc can use',
        description='Lists the topics of a bag with their types and rates, and which of them '
        'geoloc can use for what: choose among several with --topic KIND=/TOPIC elsewhere.',
    )
    info.add_argument('bag', help='ROS 1 .bag, rosbag2 folder, .mcap or .db3')
    info.set_defaults(run=_info)

    kitti = commands.add_parser(
        'from-kitti',
        help='make a rosbag2 (mcap) of a KITTI raw drive',
        description='Makes a rosbag2 of a KITTI raw drive (synchronised and rectified). base_link '
        'is the ground under the OXTS unit. Ground truth is the INS, on /ground_truth/odometry.',
    )
    kitti.add_argument('drive', help='folder <date>_drive_<number>_sync, or one that holds it')
    kitti.add_argument('out', help='folder of the new bag')
    kitti.add_argument('--overwrite', action='store_true', help='replace a bag that is there')
    kitti.add_argument(
        '--gnss-noise', type=float, default=0.0, metavar='M', help='noise per axis, 1 sigma, m'
    )
    kitti.add_argument(
        '--gnss-correlation',
        type=float,
        default=0.0,
        metavar='S',
        help='time over which that noise stays alike, s (0: white)',
    )
    kitti.add_argument(
        '--gnss-cut',
        action='append',
        default=[],
        metavar='START:END',
        help='no fixes between these seconds; may be given several times',
    )
    kitti.add_argument(
        '--odom-scale', type=float, default=1.0, help='factor on the wheel speed (1.02: +2 %%)'
    )
    kitti.add_argument(
        '--odom-drift',
        type=float,
        default=0.0,
        metavar='DEG',
        help='random walk of the odometry yaw, degrees per root second',
    )
    kitti.add_argument(
        '--gyro-bias', type=float, default=0.0, metavar='DEG', help='on the yaw rate, degrees/s'
    )
    kitti.add_argument('--seed', type=int, default=0, help='of all noise')
    kitti.add_argument(
        '--raw', action='store_true', help='decoded images instead of the compressed files'
    )
    kitti.add_argument('--every', type=int, default=1, help='one camera frame of so many')
    kitti.add_argument('--offset', type=int, default=0, help='first camera frame')
    kitti.add_argument(
        '--camera-height', type=float, default=1.65, metavar='M', help='over the ground, m'
    )
    kitti.add_argument(
        '--camera-rpy',
        nargs=3,
        type=float,
        default=(0.0, 0.0, 0.0),
        metavar=('ROLL', 'PITCH', 'YAW'),
        help='turn of the camera on top of its calibration, degrees (geoloc bag refine-mount)',
    )
    kitti.set_defaults(run=_from_kitti)

    bag_from_rgbd.register(commands)

    mount = commands.add_parser(
        'refine-mount',
        help='find the small error of a camera mount from a posed drive',
        description='Turns the camera until views of the same ground from different places of a '
        'posed drive agree best, and prints the turn and the parameters that make it permanent.',
    )
    mount.add_argument('bag', help='bag with camera and ground truth')
    mount.add_argument('--params', metavar='YAML', help='parameter file of the node')
    mount.add_argument('--every', type=int, default=1, help='one camera frame of so many')
    mount.add_argument('--offset', type=int, default=0, help='first camera frame')
    mount.set_defaults(run=_refine_mount)


def parse_span(text: str) -> tuple[float, float]:
    """(start, end) of 'START:END' in seconds.

    Raises:
        BagError: Not two increasing numbers.
    """
    start, _, end = text.partition(':')
    try:
        span = float(start), float(end)
    except ValueError:
        span = (math.nan, math.nan)
    if not span[0] < span[1]:
        raise BagError(f'{text!r}: expected START:END in seconds, START before END')
    return span


def _from_kitti(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from geoloc_ros.bags.kitti import convert, KittiOptions

    if args.every < 1 or args.offset < 0:
        raise BagError('--every must be at least 1 and --offset not negative')
    options = KittiOptions(
        gnss_noise_m=args.gnss_noise,
        gnss_correlation_s=args.gnss_correlation,
        gnss_cuts=tuple(parse_span(text) for text in args.gnss_cut),
        odom_scale=args.odom_scale,
        odom_drift_deg=args.odom_drift,
        gyro_bias_deg_s=args.gyro_bias,
        seed=args.seed,
        raw_images=args.raw,
        every=args.every,
        offset=args.offset,
        camera_height_m=args.camera_height,
        camera_rpy_deg=tuple(args.camera_rpy),
    )
    drive = convert(
        args.drive,
        args.out,
        options,
        overwrite=args.overwrite,
        progress=partial(tqdm, desc='writing', unit='msg', leave=False),
    )
    print(
        f'{args.out}: {len(drive.images[args.offset :: args.every])} frames, '
        f'{len(drive.oxts)} packets, {drive.truth.length_m:.0f} m'
    )
    return 0


def _refine_mount(args: argparse.Namespace) -> int:
    import numpy as np

    from geoloc_core.bags.reader import read_bag
    from geoloc_core.geometry import se3
    from geoloc_core.messages.conversions import R_BODY_OPTICAL
    from geoloc_ros.bags.drive_map import drive_poses, refined_mount
    from geoloc_ros.cli.evaluate import parameters

    params = parameters(args.params, [], None)
    with read_bag(args.bag) as reader:
        poses, _ = drive_poses(reader, 'truth', params)
        found = refined_mount(reader, poses, params, None, args.every, args.offset)
    roll, pitch, yaw = np.degrees(found.roll_pitch_yaw)
    print(f'turn the camera by roll {roll:.2f}, pitch {pitch:.2f}, yaw {yaw:.2f} degrees')
    print(f'agreement of the views: {found.agreement_before:.3f} -> {found.agreement_after:.3f}')
    T = found.T_base_camera
    body = se3.make(T[:3, :3] @ R_BODY_OPTICAL.T, T[:3, 3])
    print(f'frames.camera_xyz: [{", ".join(f"{v:.4f}" for v in body[:3, 3])}]')
    print(f'frames.camera_rpy: [{", ".join(f"{v:.5f}" for v in se3.rpy_from(body))}]')
    return 0


def _info(args: argparse.Namespace) -> int:
    from geoloc_core.bags.reader import read_bag
    from geoloc_core.bags.topics import KINDS

    with read_bag(args.bag) as reader:
        version = 'rosbag2' if reader.is_ros2 else 'ROS 1'
        print(f'{reader.path}: {version}, {reader.duration_s:.1f} s')
        topics = list(reader.topics.values())
        width = max((len(t.name) for t in topics), default=0)
        kinds = max((len(t.msgtype) for t in topics), default=0)
        for topic in topics:
            rate = '' if math.isnan(topic.rate_hz) else f'{topic.rate_hz:8.1f} Hz'
            print(f'  {topic.name:{width}}  {topic.msgtype:{kinds}}  {topic.count:7d} {rate}')
        print('geoloc can use:')
        for kind in KINDS:
            found = reader.candidates(kind)
            print(f'  {kind:12} {", ".join(found) if found else "-"}')
    return 0
