# SPDX-License-Identifier: Apache-2.0
"""geoloc bag from-rgbd: a rosbag2 of a folder of RGB-D frames."""

import argparse
from functools import partial
from pathlib import Path

from geoloc_core.errors import BagError, ConfigError

_EXAMPLES = """the folder is one sequence, in one of two layouts:
  frame-000000.color.png  frame-000000.depth.png  frame-000000.pose.txt     7-Scenes (also .jpg)
  rgb.txt  depth.txt  groundtruth.txt  rgb/  depth/                         TUM RGB-D
Depth and poses may be absent.

examples:
  geoloc bag from-rgbd redkitchen/seq-03 out/queries --params out/queries.yaml
      the sequence as its Kinect would publish it: depth in a frame of its own, with CameraInfo
      and /tf_static, for the node to register on the way
  geoloc bag from-rgbd redkitchen/seq-01 out/map --frames 0:745 --calibration redkitchen
      some of the frames, with the calibration fitted to that scene
  geoloc bag from-rgbd rgbd_dataset_freiburg3_desk out/desk --every 3 --depth-encoding 32FC1
      every third picture of a TUM sequence, depth in metres
  geoloc bag from-rgbd my_frames out/mine --calibration registered --intrinsics 612 612 322 239
      frames of your own in the 7-Scenes layout: depth laid over colour, poses of that one camera

and then:
  geoloc bag info out/queries
  geoloc place build redkitchen/seq-01 -o kitchen.place
  geoloc evaluate out/queries --params out/queries.yaml --set place_map=kitchen.place
  geoloc replay out/queries --wait-for /camera/image_raw/compressed

Topics: /camera/image_raw[/compressed], /camera/camera_info, /camera/depth/image[/compressedDepth],
/camera/depth/camera_info, /tf_static; the reference poses on /ground_truth/odometry, of base_link
(the colour camera's centre, x forward, y left, z up) in the data set's own world, that of 7-Scenes
turned upright (x forward, y left, z up) as the node does with a place map made of such a folder.
"""


def register(commands) -> None:
    """Adds `geoloc bag from-rgbd`."""
    parser = commands.add_parser(
        'from-rgbd',
        help='make a rosbag2 (mcap) of a folder of RGB-D frames (7-Scenes, TUM)',
        description='Makes a rosbag2 of a folder of RGB-D frames: colour, depth, a CameraInfo of '
        'each, transforms, and the reference poses where there are any.',
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('folder', type=Path, help='folder of one sequence')
    parser.add_argument('out', type=Path, help='folder of the new bag')
    parser.add_argument('--overwrite', action='store_true', help='replace a bag that is there')
    parser.add_argument(
        '--params', type=Path, metavar='YAML', help="write the node's parameters for it here"
    )
    parser.add_argument(
        '--frames',
        metavar='FIRST:LAST',
        default='',
        help='only these: numbers of the file names (7-Scenes), or counted from 0 (TUM)',
    )
    parser.add_argument('--every', type=int, default=1, help='one colour frame of so many')
    parser.add_argument(
        '--calibration',
        choices=('liris', 'redkitchen', 'registered'),
        default='liris',
        help='7-Scenes: how colour and depth stand to each other (liris: as the field takes it)',
    )
    parser.add_argument(
        '--intrinsics',
        nargs='+',
        type=float,
        metavar='N',
        help="fx fy cx cy [k1 k2 p1 p2 [k3]] of the colour camera, if not the data set's",
    )
    parser.add_argument(
        '--rate', type=float, default=30.0, metavar='HZ', help='7-Scenes: frames a second (30)'
    )
    parser.add_argument(
        '--raw', action='store_true', help='decoded pictures instead of the compressed files'
    )
    parser.add_argument(
        '--depth-encoding',
        choices=('16UC1', '32FC1'),
        default='16UC1',
        help='millimetres, or metres (always raw)',
    )
    parser.add_argument(
        '--register', action='store_true', help='lay depth over colour here, as some drivers do'
    )
    parser.add_argument('--no-depth', action='store_true', help='colour alone')
    parser.add_argument('--no-poses', action='store_true', help='without the reference poses')
    parser.set_defaults(run=_from_rgbd)


def _span(text: str) -> tuple[int, int | None]:
    """(first, last) of 'FIRST:LAST'; either may be left out.

    Raises:
        BagError: Not two whole numbers.
    """
    first, separator, last = text.partition(':')
    try:
        return int(first or 0), int(last) if last else (None if separator else int(first or 0))
    except ValueError:
        raise BagError(f'--frames {text!r}: expected FIRST:LAST, such as 0:745') from None


def _from_rgbd(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from geoloc_core.formats.rgbd_folder import open_rgbd_folder
    from geoloc_ros.bags.rgbd import convert, node_parameters, RgbdOptions

    first, last = _span(args.frames) if args.frames else (0, None)
    options = RgbdOptions(
        raw=args.raw,
        depth_encoding=args.depth_encoding,
        register=args.register,
        depth=not args.no_depth,
        poses=not args.no_poses,
        first=first,
        last=last,
        every=args.every,
    )
    folder = open_rgbd_folder(
        args.folder,
        calibration=args.calibration,
        intrinsics=args.intrinsics,
        rate_hz=args.rate,
    )
    for problem in folder.problems:
        print(f'left out: {problem}')
    progress = partial(tqdm, desc='writing', unit='msg', leave=False)
    counts = convert(folder, args.out, options, args.overwrite, progress)
    if args.params is not None:
        try:
            args.params.parent.mkdir(parents=True, exist_ok=True)
            args.params.write_text(node_parameters(folder, options), encoding='utf-8')
        except OSError as error:
            raise ConfigError(f'{args.params} cannot be written: {error.strerror}') from error
    width = max(len(topic) for topic in counts)
    print(f'{args.out}: {folder.name}, {folder.layout} layout')
    for topic in sorted(counts):
        print(f'  {topic:{width}}  {counts[topic]:6d}')
    if args.params is not None:
        print(f'parameters of the node: {args.params}')
    return 0
