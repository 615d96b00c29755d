# SPDX-License-Identifier: Apache-2.0
"""geoloc data: which data sets can be read, and whether the one on your disk is whole."""

import argparse
from datetime import timedelta
import inspect
from pathlib import Path
import textwrap
import time

_MAX_SHOWN = 20

CHECK_TEXT = """Recognises the layout, counts the samples of every split, opens every file once,
compares labels with GPS where the data set has both, and says what is missing and where it must
lie. Exit code 1 if anything is wrong.

Ten samples of each split are drawn: the view, its depth or classes; the patch with the label in
green and the prior in amber; and a picture in which a wrong pose shows at once, since lines do not
go on: the view's ground laid on the map (inside the green rim), or, for cameras with depth, what
a neighbouring frame saw, brought into this view by depth and both poses.

examples:
  geoloc data check ~/data/VIGOR                     all splits that are there
  geoloc data check ~/data/VIGOR --limit 500         a quick look at 500 samples a split
  geoloc data check ~/data/KITTI --set lists=lists   options of its reader (geoloc data list kitti)
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
    listing.add_argument(
        'name', nargs='?', metavar='NAME', help='one of them, with the options of its reader'
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
        '--set',
        action='append',
        default=[],
        metavar='NAME=VALUE',
        help='option of the reader (repeat)',
    )
    check.add_argument(
        '--out', type=Path, default=Path('out/data_check'), metavar='DIR', help='pictures go here'
    )
    check.set_defaults(run=run_check)


def run_list(args: argparse.Namespace) -> int:
    """Prints all readers, or one with its options."""
    from training.datasets.registry import reader, READERS

    for name in [args.name] if args.name else READERS:
        kind = reader(name)
        print(f'{name}   splits: {", ".join(kind.SPLITS)}')
        print(textwrap.indent(textwrap.dedent(kind.LAYOUT).rstrip(), '  '))
        print()
    if args.name:
        print('options, given as --set NAME=VALUE:')
        for option, default in _defaults(kind).items():
            print(f'  {option}={default}')
        print(inspect.getdoc(kind.__init__).partition('Args:')[2].partition('Raises:')[0].rstrip())
    else:
        print('geoloc data list NAME   the options of one of them')
    return 0


def _defaults(kind: type) -> dict[str, object]:
    """Options of a reader and of what it is built on, with their defaults."""
    options: dict[str, object] = {}
    for base in kind.__mro__:
        for name, given in inspect.signature(base.__init__).parameters.items():
            if given.kind is inspect.Parameter.KEYWORD_ONLY:
                options.setdefault(name, given.default)
    return options


def run_check(args: argparse.Namespace) -> int:
    """Checks one data set; 1 if anything is wrong with it."""
    from geoloc_core.errors import ConfigError, DataError
    from training.datasets.base import AbsentError
    from training.datasets.registry import nearby, reader, recognise

    if args.limit is not None and args.limit < 1:
        raise ConfigError(f'--limit is {args.limit}: look at one sample at least')
    if args.workers < 1:
        raise ConfigError(f'--workers is {args.workers}: expected 1 or more')
    path = args.path.expanduser()
    name = args.layout or recognise(path)
    kind = reader(name)
    options = _options(args.set)
    known = _defaults(kind)
    if unknown := [option for option in options if option not in known]:
        raise ConfigError(
            f'{kind.NAME} does not take --set {unknown[0]}=...: it takes {", ".join(known)} '
            f'(`geoloc data list {name}`)'
        )
    for split in args.split or ():
        if split not in kind.SPLITS:
            raise ConfigError(
                f'{kind.NAME} has no split {split!r}: choose one of {", ".join(kind.SPLITS)}'
            )
    if not path.exists():
        raise DataError(f'{path}: no such folder')
    print(f'{path}: {kind.NAME}')
    started = time.monotonic()
    verdicts: dict[str, str] = {}
    # Sentence -> what it holds for: several splits read the same lists.
    absent: dict[str, list[str]] = {}
    damaged: dict[str, list[str]] = {}
    good, seen, missing = True, False, {}
    for split in args.split or kind.SPLITS:
        try:
            dataset = kind(path, split, **options)
            count = len(dataset)
        except AbsentError as error:
            absent.setdefault(str(error), []).append(split)
            continue
        except DataError as error:
            damaged.setdefault(str(error), []).append(split)
            continue
        except (TypeError, ValueError) as error:
            if not options:
                raise
            raise ConfigError(f'--set {" ".join(args.set)}: {error}') from error
        missing |= dict.fromkeys(dataset.missing())
        fine = not count or _check_one(dataset, args)
        good, seen = good and fine, seen or count > 0
        verdicts[split] = f'{count}{"" if fine else " with faults"}'
        if not count:
            print(f'{split}: no samples')
    if (absent or damaged) and not seen and not kind.recognises(path):
        hint = nearby(path, name) or f': `geoloc data list {name}` shows how it must lie on disk'
        raise DataError(f'{path} does not look like {kind.NAME}{hint}')
    for sentence in missing:
        print(f'missing: {sentence}')
    for what, sentences in (('cannot be opened', damaged), ('not here', absent)):
        for sentence, splits in sentences.items():
            print(f'{", ".join(splits)}: {what}: {sentence}')
            verdicts |= dict.fromkeys(splits, what)
    # A copy often holds some splits only: that is a fault where it was asked for by name.
    good = good and seen and not (missing or damaged or (absent and args.split))
    took = timedelta(seconds=round(time.monotonic() - started))
    summary = ', '.join(f'{split} {verdict}' for split, verdict in verdicts.items())
    print(f'{"good" if good else "NOT GOOD"}: {summary}; {took}')
    return 0 if good else 1


def _check_one(dataset, args: argparse.Namespace) -> bool:
    """Checks and reports one split; whether it is good."""
    import cv2
    from tqdm import tqdm

    from training.datasets.check import check_split
    from training.datasets.pictures import contact_sheet

    # Only for somebody who looks on: in a log it would be noise.
    with tqdm(unit='file', desc=dataset.split, leave=False, disable=None) as bar:

        def opened(more: int, total: int) -> None:
            bar.total = total
            bar.update(more)

        report = check_split(dataset, limit=args.limit, workers=args.workers, progress=opened)
    protocol = dataset.protocol
    part = f'{report.looked_at} of ' if report.looked_at < report.samples else ''
    print(
        f'{dataset.split}: {part}{report.samples} samples, {report.files} files opened'
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
        rgb = contact_sheet(report.shown, report.neighbours)
        cv2.imwrite(str(sheet), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        print(f'  {len(report.shown)} samples drawn: {sheet}')
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
