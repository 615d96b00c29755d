# SPDX-License-Identifier: Apache-2.0
"""geoloc place: make, look at, check and join maps of places, for localization with a camera."""

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from geoloc_core.errors import ConfigError, DataError, MapError

BUILD_TEXT = """Makes a map of a place from a recording with colour, depth and known poses. A robot
with a camera then finds itself in it, without GNSS: with depth or without.

SOURCE is one of
  a folder of frames in the layout of 7-Scenes (frame-000000.{color.png,depth.png,pose.txt}) or of
    TUM RGB-D (rgb.txt, depth.txt, groundtruth.txt); several whose poses are in one world
  a bag with images, depth (registered, or with its own camera_info) and poses: a ground-truth
    topic, any odometry that does not drift (--topic truth=/slam/odom), a TUM file (--poses FILE),
    or geoloc's own estimate from GNSS and odometry (--poses estimate)

All frames are looked at; a few, from which all the others see enough, become keyframes. The map is
one file with features, their points in space and small depth pictures; no picture is kept in it.

examples:
  geoloc place build redkitchen/seq-01 redkitchen/seq-02 -o kitchen.place
  geoloc place build rgbd_dataset_freiburg1_desk -o desk.place --every 2
  geoloc place build my_frames -o mine.place --calibration registered --intrinsics 612 612 322 239
  geoloc place build drive_bag -o hall.place --poses estimate
  geoloc place build seq-01 -o fine.place --coverage 1 --max-angle 4
  geoloc place check kitchen.place && geoloc place info kitchen.place"""

INFO_TEXT = """Reads a place map as the node would, so that one which it refuses is refused here,
with the reason, and prints what it holds.

example:
  geoloc place info kitchen.place"""

CHECK_TEXT = """Verifies a map: first the file, then what it says. Points must lie where their
features see them, the depth of overlapping keyframes must agree (a wrong pose, unit or calibration
breaks that), keyframes must overlap, and no two places may look alike. Exit code 1 if anything is
wrong.

example:
  geoloc place check kitchen.place && ros2 launch geoloc_ros geoloc.launch.py"""

MERGE_TEXT = """Joins maps of one camera and one kind of features into one, in the frame of the
first. Maps that are tied to the Earth find each other. Others were built of poses in one frame, as
the sequences of a 7-Scenes room are (--same-frame says so), or in several, as two runs of a SLAM:
then --align finds how they lie, in what they have in common. Where they overlap, depth must
agree.

examples:
  geoloc place merge seq-01.place seq-02.place -o room.place --same-frame
  geoloc place merge monday.place friday.place -o shop.place --align"""


def register(subparsers) -> None:
    """Adds `geoloc place`."""
    parser = subparsers.add_parser(
        'place', help='make, check or join a map of a place, for RGB-D localization'
    )
    commands = parser.add_subparsers(dest='place_command', metavar='COMMAND', required=True)
    _register_build(commands)
    info = commands.add_parser(
        'info',
        help='what a map holds, and what it was made of',
        description=INFO_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    info.add_argument('map', type=Path, help='a .place file')
    info.set_defaults(run=run_info)
    check = commands.add_parser(
        'check',
        help='verify a map before a robot depends on it; exit code 1 if anything is wrong',
        description=CHECK_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument('map', type=Path, help='a .place file')
    check.set_defaults(run=run_check)
    merge = commands.add_parser(
        'merge',
        help='join maps of one place',
        description=MERGE_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    merge.add_argument('maps', type=Path, nargs='+', metavar='MAP', help='.place files')
    merge.add_argument('-o', '--output', type=Path, required=True, help='the map (.place)')
    merge.add_argument('--name', default='', help='of the place (that of the first map)')
    merge.add_argument(
        '--same-frame', action='store_true', help='the maps were built of poses in one frame'
    )
    merge.add_argument(
        '--align',
        action='store_true',
        help='find how the maps lie to each other in what they have in common',
    )
    merge.set_defaults(run=run_merge)


def _register_build(commands) -> None:
    parser = commands.add_parser(
        'build',
        help='make a map from a posed RGB-D recording',
        description=BUILD_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'sources', type=Path, nargs='+', metavar='SOURCE', help='a folder, several, or a bag'
    )
    parser.add_argument('-o', '--output', type=Path, required=True, help='the map (.place)')
    parser.add_argument('--name', default='', help="of the place (the source's)")
    frames = parser.add_argument_group('which frames')
    frames.add_argument('--every', type=int, default=1, metavar='N', help='look at one of so many')
    frames.add_argument(
        '--frames',
        metavar='FIRST:LAST',
        help='of a folder, look at these only: numbers of the file names (7-Scenes), or counted '
        'from 0 (TUM)',
    )
    frames.add_argument(
        '--coverage',
        type=float,
        default=0.97,
        metavar='SHARE',
        help='of what each frame sees, keep keyframes that see so much of it (%(default)s); more '
        'of it, more keyframes',
    )
    frames.add_argument(
        '--max-angle',
        type=float,
        default=8.0,
        metavar='DEG',
        help='what a keyframe sees from a direction that differs by more does not count '
        '(%(default)s); less of it, more keyframes, a larger and a more accurate map',
    )
    frames.add_argument('--max-keyframes', type=int, metavar='N', help='keep so many at most')
    features = parser.add_argument_group('features')
    features.add_argument(
        '--features',
        default='sift',
        metavar='KIND',
        help='sift (default), or xfeat, matched by LighterGlue: needs torch here and on the robot',
    )
    features.add_argument('--max-features', type=int, metavar='N', help='in a keyframe, at most')
    features.add_argument(
        '--descriptor',
        type=Path,
        metavar='BUNDLE',
        help='network that describes whole pictures (a folder with descriptor.json); without, a '
        'vocabulary is made of the map itself, and no network is needed',
    )
    where = parser.add_argument_group('where it is')
    where.add_argument(
        '--anchor',
        metavar='LAT,LON,ALT,YAW',
        help='tie the map to the Earth: place of its origin (degrees, m over the ellipsoid) and '
        'direction of its x axis (degrees from east, counter-clockwise); what a bag says of it is '
        'believed, unless this is "none"',
    )
    where.add_argument(
        '--z-up',
        action='store_true',
        help='z of the poses is up, which the layout of 7-Scenes does not say',
    )
    folder = parser.add_argument_group('folders')
    folder.add_argument(
        '--calibration',
        choices=('liris', 'redkitchen', 'registered'),
        default='liris',
        help='7-Scenes: how colour and depth stand to each other (liris: as the field takes it)',
    )
    folder.add_argument(
        '--intrinsics',
        nargs='+',
        type=float,
        metavar='N',
        help="fx fy cx cy [k1 k2 p1 p2 [k3]] of the colour camera, if not the data set's",
    )
    bag = parser.add_argument_group('bags')
    bag.add_argument(
        '--poses',
        default='truth',
        metavar='SOURCE',
        help='"truth" (default), "estimate", or a TUM file of base_link in a frame with z up',
    )
    bag.add_argument('--params', metavar='YAML', help='parameter file of the node, for mounts')
    bag.add_argument(
        '--topic', nargs='+', default=[], metavar='KIND=/TOPIC', help='see geoloc evaluate'
    )
    parser.set_defaults(run=run_build)


def run_build(args: argparse.Namespace) -> int:
    """Makes a map."""
    from tqdm import tqdm

    from geoloc_core.maps.place.builder import build_place, BuildConfig
    from geoloc_core.maps.place.file import save_place, SUFFIX
    from geoloc_core.maps.place.selection import SelectionConfig

    # What can be refused is refused before minutes of work.
    if args.output.suffix != SUFFIX:
        raise ConfigError(f'--output {args.output}: expected a name that ends in {SUFFIX}')
    if not args.output.resolve().parent.is_dir():
        raise ConfigError(f'there is no folder to write {args.output} to')
    if args.every < 1:
        raise ConfigError(f'--every {args.every}: expected 1 or more')
    config = BuildConfig(
        args.features,
        args.max_features,
        SelectionConfig(args.coverage, args.max_angle, max_keyframes=args.max_keyframes),
    )
    sequence = _sequence(args)
    _anchor(sequence, args)

    def bar(frames: Iterable, total: int, what: str) -> Iterable:
        return tqdm(frames, total=total, desc=what, unit='frame', disable=None)

    descriptor = None
    if args.descriptor is not None:
        from geoloc_core.runtime.descriptor_bundle import load_descriptor_bundle, NetworkDescriptor

        descriptor = NetworkDescriptor(load_descriptor_bundle(args.descriptor))
    place = build_place(sequence, config, name=args.name, descriptor=descriptor, progress=bar)
    for problem in sequence.problems():
        print(f'note: {problem}')
    size = save_place(place, args.output)
    print(f'{args.output}: {len(place.keyframes)} keyframes, {size / 1e6:.1f} MB')
    return _report(place)


def run_info(args: argparse.Namespace) -> int:
    """Prints what a map holds."""
    import numpy as np

    from geoloc_core.geometry.cameras import camera_kind
    from geoloc_core.maps.place.file import load_place

    place = load_place(args.map)
    frames = place.keyframes
    counts = [len(frame.xy) for frame in frames]
    with_point = sum(int(frame.has_point.sum()) for frame in frames)
    extent = np.ptp(place.poses[:, :3, 3], axis=0)
    camera = place.camera
    where = 'a frame of its own' + ('' if place.z_up else ', of which nobody said what is up')
    if place.anchor is not None:
        datum = place.anchor.datum
        where = (
            f'origin at {datum.lat_deg:.7f}, {datum.lon_deg:.7f}, {datum.alt_m:.2f} m, x axis '
            f'{np.rad2deg(place.anchor.yaw):.2f} degrees from east'
        )
    lines = [
        ('place', place.name),
        ('file', f'{args.map.stat().st_size / 1e6:.1f} MB'),
        ('keyframes', f'{len(frames)}, within {" x ".join(f"{side:.2f}" for side in extent)} m'),
        (
            'features',
            f'{place.features}, {sum(counts)}, {with_point} of them with a point in space',
        ),
        ('retrieval', f'{place.global_kind}, {len(frames[0].global_descriptor)} numbers'),
        ('camera', f'{camera_kind(camera)}, {camera.width} x {camera.height} px: {camera}'),
        ('where', where),
        *place.facts.items(),
    ]
    for name, text in lines:
        print(f'{name + ":":18}{text}')
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Verifies a map; 1 if anything is wrong with it."""
    from geoloc_core.maps.place.file import load_place

    return _report(load_place(args.map))


def run_merge(args: argparse.Namespace) -> int:
    """Joins maps."""
    from geoloc_core.features.registry import open_matcher
    from geoloc_core.maps.place.file import load_place, save_place
    from geoloc_core.maps.place.merging import merge_places

    for path in args.maps:
        if path.resolve() == args.output.resolve():
            raise ConfigError(f'--output {args.output} is one of the maps to merge: name another')
    places = [load_place(path) for path in args.maps]
    matcher = None
    if args.align:
        try:
            matcher = open_matcher(places[0].features)
        except ConfigError as error:
            print(f'note: {error}; nearest descriptors are taken')
    place = merge_places(
        places, args.name, same_frame=args.same_frame, align=args.align, matcher=matcher
    )
    size = save_place(place, args.output)
    print(f'{args.output}: {len(place.keyframes)} keyframes, {size / 1e6:.1f} MB')
    return _report(place)


def _report(place) -> int:
    """Prints what a check finds; 1 if anything is wrong."""
    import numpy as np

    from geoloc_core.maps.place.checking import check_place

    report = check_place(place)
    apart = report.disagreement_m
    print(
        f'{place.name}: {report.keyframes} keyframes, {report.points} points, depth of '
        + ('none overlaps' if np.isnan(apart) else f'neighbours agrees to {100 * apart:.1f} cm')
        + ('' if np.isnan(report.gap_m) else f', matched points to {100 * report.gap_m:.1f} cm')
    )
    for problem in report.problems:
        print(f'problem: {problem}')
    print('sound' if not report.problems else f'NOT SOUND: {len(report.problems)} problems')
    return 1 if report.problems else 0


def _is_bag(path: Path) -> bool:
    return path.suffix in ('.bag', '.mcap', '.db3') or (path / 'metadata.yaml').is_file()


def _sequence(args: argparse.Namespace) -> Any:
    """What the sources are, opened."""
    for source in args.sources:
        if not source.exists():
            raise DataError(f'{source}: no such folder or bag')
    bags = [source for source in args.sources if _is_bag(source)]
    first, last = _range(args.frames)
    if not bags:
        from geoloc_core.maps.place.folder_sequence import FolderSequence

        return FolderSequence(
            args.sources,
            calibration=args.calibration,
            intrinsics=args.intrinsics,
            first=first,
            last=last,
            every=args.every,
        )
    if len(args.sources) > 1:
        raise ConfigError(
            f'{bags[0]} is a bag: build a map of each bag, and join them (geoloc place merge)'
        )
    if args.frames is not None:
        raise ConfigError('--frames is for folders; of a bag all frames are looked at')
    from geoloc_core.bags.topics import TopicChoice
    from geoloc_ros.bags.place_sequence import BagSequence
    from geoloc_ros.cli.evaluate import parameters

    return BagSequence(
        bags[0],
        parameters(args.params, ['depth.enabled=true'], None),
        args.poses,
        TopicChoice.of(args.topic),
        every=args.every,
    )


def _anchor(sequence, args: argparse.Namespace) -> None:
    """Ties a sequence to the Earth, or leaves it in its own frame, as the user says."""
    import numpy as np

    from geoloc_core.geometry.geodesy import Datum
    from geoloc_core.maps.place.records import Anchor

    sequence.z_up = sequence.z_up or args.z_up
    if args.anchor is None:
        return
    if args.anchor == 'none':
        sequence.anchor = None
        return
    try:
        lat, lon, alt, yaw_deg = (float(word) for word in args.anchor.split(','))
    except ValueError:
        raise ConfigError(
            f'--anchor {args.anchor}: expected LAT,LON,ALT,YAW, for example 49.0,8.4,116.5,90'
        ) from None
    if not sequence.z_up:
        raise MapError(
            f'--anchor: z of {sequence.name} is not known to be up, so a yaw does not say how it '
            'lies; if it is up, say so with --z-up'
        )
    sequence.anchor = Anchor(Datum(lat, lon, alt), float(np.deg2rad(yaw_deg)))


def _range(text: str | None) -> tuple[int, int | None]:
    """(first, last) of 'FIRST:LAST'; either may be left out."""
    if text is None:
        return 0, None
    first, colon, last = text.partition(':')
    whole = all(part.isdigit() for part in (first, last) if part)
    if not colon or not whole or (last and int(last) < int(first or 0)):
        raise ConfigError(f'--frames {text}: expected FIRST:LAST, for example 0:745')
    return int(first or 0), int(last) if last else None
