# SPDX-License-Identifier: Apache-2.0
"""geoloc data: which data sets can be read, and whether the one on your disk is whole."""

import argparse
import inspect
from pathlib import Path

_MAX_SHOWN = 20

CHECK_TEXT = """Recognises the layout, counts the samples of every split, opens every file once,
compares labels with GPS where the data set has both, draws ten samples of each split with their
pose, and says what is missing and where it must lie. Exit code 1 if anything is wrong.

examples:
  geoloc data check ~/data/VIGOR                     all splits that are there
  geoloc data check ~/data/VIGOR --limit 500         a quick look at 500 samples a split
  geoloc data check ~/data/KITTI --set lists=~/lists further arguments of a reader
  geoloc data check drive_bag --layout bag --set map=map.tif"""


def register(subparsers) -> None:
    """Adds `geoloc data`."""
    parser = subparsers.add_parser('data', help='check a data set before training on it')
    commands = parser.add_subparsers(dest='data_command', metavar='COMMAND', required=True)
    listing = commands.add_parser(
        'list',
        help='the data sets that can be read, and how they must lie on disk',
        description='Prints every data set that has a reader: its splits and its folder tree.',
    )
    listing.set_defaults(run=run_list)
    check = commands.add_parser(
        'check',
        help='open every file once, test the labels, draw ten samples',
        description=CHECK_TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    check.add_argument('path', type=Path, metavar='PATH', help='folder of the data set (or a bag)')
    check.add_argument('--layout', metavar='NAME', help='see `geoloc data list`; else recognised')
    check.add_argument('--split', action='append', metavar='NAME', help='only this one (repeat)')
    check.add_argument('--limit', type=int, metavar='N', help='look at N samples of each split')
    check.add_argument('--workers', type=int, default=8, metavar='N', help='files read at a time')
    check.add_argument(
        '--set', action='append', default=[], metavar='NAME=VALUE', help='argument of the reader'
    )
    check.add_argument(
        '--out', type=Path, default=Path('out/data_check'), metavar='DIR', help='pictures go here'
    )
    check.set_defaults(run=run_check)


def run_list(args: argparse.Namespace) -> int:
    """Prints all readers."""
    from training.datasets.registry import reader, READERS

    for name in READERS:
        kind = reader(name)
        print(f'{name}   splits: {", ".join(kind.SPLITS)}')
        print(kind.LAYOUT.rstrip('\n'))
        print()
    return 0


def run_check(args: argparse.Namespace) -> int:
    """Checks one data set; 1 if anything is wrong with it."""
    from geoloc_core.errors import ConfigError, DataError
    from training.datasets.registry import reader, recognise

    if args.limit is not None and args.limit < 1:
        raise ConfigError(f'--limit is {args.limit}: look at one sample at least')
    path = args.path.expanduser()
    name = args.layout or recognise(path)
    kind = reader(name)
    print(f'{path}: {kind.NAME}')
    options = _options(args.set)
    try:
        inspect.signature(kind.__init__).bind(None, path, 'split', **options)
    except TypeError as error:
        raise ConfigError(f'{kind.NAME} does not take --set {args.set}: {error}') from error
    good, seen, missing, trouble = True, 0, {}, []
    for split in args.split or kind.SPLITS:
        try:
            dataset = kind(path, split, **options)
            count = len(dataset)
        except DataError as error:
            trouble.append(f'{split}: {error}')
            continue
        missing |= dict.fromkeys(dataset.missing())
        if count:
            seen += 1
            good &= _check_one(dataset, args)
        else:
            print(f'{split}: no samples')
    for sentence in missing:
        print(f'missing: {sentence}')
    # A copy often holds some splits only: that is a fault where it was asked for by name.
    for sentence in trouble:
        print(f'cannot be opened: {sentence}')
    return 0 if good and seen and not missing and not (trouble and args.split) else 1


def _check_one(dataset, args: argparse.Namespace) -> bool:
    """Checks and reports one split; whether it is good."""
    import cv2
    from tqdm import tqdm

    from training.datasets.check import check_split
    from training.datasets.pictures import contact_sheet

    with tqdm(unit='file', desc=dataset.split, leave=False) as bar:

        def opened(more: int, total: int) -> None:
            bar.total = total
            bar.update(more)

        report = check_split(dataset, limit=args.limit, workers=args.workers, progress=opened)
    protocol = dataset.protocol
    print(
        f'{dataset.split}: {report.samples} samples, {report.files} files opened'
        + (f', {len(report.bad)} unreadable' if report.bad else ', all readable')
        + (f'; protocol {protocol.name}' if protocol else '')
    )
    if report.label_errors_m:
        print(f'  {report.label_summary()}')
    lines = [text for _, text in report.bad] + report.errors
    for line in lines[:_MAX_SHOWN]:
        print(f'  {line}')
    if len(lines) > _MAX_SHOWN:
        print(f'  ... and {len(lines) - _MAX_SHOWN} more')
    if report.shown:
        args.out.mkdir(parents=True, exist_ok=True)
        sheet = args.out / f'{dataset.NAME}_{dataset.split}.jpg'.replace(' ', '_').lower()
        picture = cv2.cvtColor(contact_sheet(report.shown), cv2.COLOR_RGB2BGR)
        cv2.imwrite(str(sheet), picture)
        print(f'  {len(report.shown)} samples drawn (green: label, amber: prior): {sheet}')
    return report.is_good


def _options(pairs: list[str]) -> dict[str, object]:
    """`NAME=VALUE` arguments, values read as YAML: numbers, true, lists."""
    import yaml

    from geoloc_core.errors import ConfigError

    options: dict[str, object] = {}
    for pair in pairs:
        name, equals, value = pair.partition('=')
        if not equals or not name.isidentifier():
            raise ConfigError(f'--set {pair}: expected NAME=VALUE, e.g. --set seed=3')
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f'--set {pair}: the value is not YAML: {error}') from error
    return options
