# SPDX-License-Identifier: Apache-2.0
"""python -m training.export: weights -> a bundle that robots run without torch."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from training.export_subject import AbstractSubject, Arrays

TEXT = """Turns trained weights into a bundle: model.onnx, the network with its calibration;
model.json, which says what it must be fed, what it answers, how it was made and how far it is from
the network; and sample.npz, one input with the network's own answer. A name that ends in .geoloc
makes one file of the three. geoloc's node and `geoloc replay` run bundles; they need no torch.

Nothing is written before the graph has answered like the network on samples that neither was made
for: both are given the same pictures, and their answers must agree within tolerances. A volume of
poses is compared by log-probability (nats, in cells at least a thousandth as probable as the
best), probability (of any event), position (m) and yaw (degrees) of the mean; a camera's pose by
position (m), rotation (degrees) and covariance; a descriptor by distance. Where the samples have a
truth, the errors of both are noted as well: what int8 costs stands in model.json.

The samples are those of --data; without it, of the validation split of the run that the weights
lie in (its config.yaml); with --noise, no pictures at all, which proves less, and nothing of int8.

precisions:
  fp32   as trained.
  fp16   weights, and what they are multiplied with, in half precision; sums, softmax and geometry
         in single. For GPUs; a CPU gains nothing.
  int8   multiplications by weights in eight bits (QDQ, symmetric, a range a channel). The ranges
         come from pictures of the training split: of the run, or of --calibrate-on.
Inputs and outputs are float32 in all of them."""

EXAMPLES = """examples:
  python -m training.export out/train/geoloc --out config/models/geoloc
  python -m training.export out/train/ccvpe/best.safetensors --out out/bundles/ccvpe \\
      --data ~/data/VIGOR --samples 32
  python -m training.export out/train/geoloc --precision fp16 --out out/geoloc_fp16.geoloc
  python -m training.export out/train/geoloc --precision int8 --out out/geoloc_int8 \\
      --calibrate-samples 128 --tolerance position=0.5
  python -m training.export out/train/geoloc --batch any --out out/bundles/many
  python -m training.export weights.safetensors --out out/bundles/mine --noise

then:
  geoloc model check out/bundles/mine      and the node's parameter model.path: out/bundles/mine

exit code: 0 written, 1 an error or a difference over tolerance (said in one line, nothing
written)"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog='python -m training.export',
        description=TEXT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument('weights', type=Path, help='folder of a run, or weights (.safetensors)')
    made.add_argument(
        '--out', type=Path, required=True, metavar='PLACE', help='folder, or file.geoloc, to make'
    )
    made.add_argument('--overwrite', action='store_true', help='replace the bundle in --out')
    made.add_argument(
        '--place', metavar='NAME', help='that a pose network learned (the name of its data folder)'
    )
    made.add_argument(
        '--licence', default='Apache-2.0', metavar='SPDX', help='of the weights (Apache-2.0)'
    )
    made.add_argument(
        '--trained-on', metavar='TEXT', help='said in model.json (the training split of the run)'
    )
    graph = made.add_argument_group('the graph')
    graph.add_argument(
        '--precision', default='fp32', choices=('fp32', 'fp16', 'int8'), help='see above (fp32)'
    )
    graph.add_argument(
        '--batch', default='1', metavar='N', help="samples at a time, or 'any'; robots want 1 (1)"
    )
    graph.add_argument(
        '--calibrate-on', type=Path, metavar='DIR', help='data set for the ranges of int8'
    )
    graph.add_argument(
        '--calibrate-split', default='train', metavar='NAME', help='of that data set (train)'
    )
    graph.add_argument(
        '--calibrate-samples', type=int, default=64, metavar='N', help='pictures for int8 (64)'
    )
    check = made.add_argument_group('the comparison')
    check.add_argument('--data', type=Path, metavar='DIR', help='data set to take samples from')
    check.add_argument('--reader', default='vigor', help='of it, see `geoloc data list` (vigor)')
    check.add_argument('--split', help='of the reader (its test split)')
    check.add_argument('--samples', type=int, default=16, metavar='N', help='how many (16)')
    check.add_argument('--noise', action='store_true', help='noise instead of samples')
    check.add_argument(
        '--tolerance', action='append', default=[], metavar='MEASURE=VALUE',
        help='another one than usual, e.g. position=0.05; may be repeated',
    )  # fmt: skip
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code.
    """
    args = parser().parse_args(arguments)
    # Imported here, so that --help answers at once.
    from geoloc_core.errors import GeolocError

    try:
        print(_export(args))
        return 0
    except (GeolocError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def _export(args: argparse.Namespace) -> str:
    from geoloc_core.errors import ConfigError
    from geoloc_core.models.base import parameter_count
    from geoloc_core.models.weights import load_weights
    from training.bundle_writing import require_place, write_bundle
    from training.evaluation.opening import weights_path
    from training.export_samples import provenance
    from training.exporting import make_bundle, Making

    for name in ('samples', 'calibrate_samples'):
        if getattr(args, name) < 1:
            option = name.replace('_', '-')
            raise ConfigError(f'--{option} {getattr(args, name)}: expected 1 or more')
    if args.noise and args.data is not None:
        raise ConfigError('--noise and --data exclude each other: what shall be compared on?')
    if args.noise and args.precision == 'int8':
        raise ConfigError(
            '--noise does not tell what int8 costs, and its bundle must say: leave the weights in '
            'the folder of their run, or say --data DIR (and --reader)'
        )
    require_place(args.out, args.overwrite)
    file = weights_path(args.weights)
    model = load_weights(file)
    subject = _subject(args, file, model)
    samples, compared_on = _samples(args, file, subject)
    pictures, quantized_on = _pictures(args, file, subject)
    trained, calibration = provenance(file)
    making = Making(
        precision=args.precision,
        batch=_batch(args.batch),
        licence=args.licence,
        tolerances=_tolerances(args.tolerance),
        training_data=args.trained_on or trained,
        calibration=calibration,
        compared_on=compared_on,
        quantized_on=quantized_on,
    )
    bundle = make_bundle(subject, samples, making, pictures, say=print)
    bundle = write_bundle(bundle, args.out)
    record = bundle.spec.export
    lines = [
        f'{args.out}: {model.NAME}, {parameter_count(model) / 1e6:.2f} M parameters, '
        f'{record.precision}, {len(bundle.weights) / 1e6:.1f} MB, batch '
        f'{record.batch or "any"}',
        f'  answers with {subject.text}',
        f'  compared on {record.compared} answers ({record.compared_on}):',
        *(f'    {figure}' for figure in record.parity),
    ]
    if record.accuracy:
        lines.append(f'  against the truth, {record.accuracy_samples} samples:')
        lines += [f'    {figure}' for figure in record.accuracy]
    return '\n'.join(lines)


def _subject(args: argparse.Namespace, file: Path, model: Any) -> 'AbstractSubject':
    """The network as its family is exported."""
    from geoloc_core.errors import ConfigError
    from training.export_samples import CONFIG
    from training.loop.settings import read_config

    if model.FAMILY == 'camera_pose':
        from training.pose_exporting import PoseSubject

        config, place = file.with_name(CONFIG), args.place
        if place is None and config.is_file():
            place = Path(read_config(config).data.root or '').name
        if not place:
            raise ConfigError('--place: say the name of the place that the network learned')
        return PoseSubject(model, place)
    if model.FAMILY == 'descriptor':
        from training.descriptor_exporting import DescriptorSubject

        return DescriptorSubject(model)
    from training.cross_view_exporting import CrossViewSubject

    return CrossViewSubject(model)


def _samples(
    args: argparse.Namespace, file: Path, subject: 'AbstractSubject'
) -> 'tuple[Iterator[Arrays], str]':
    """What to compare on, one sample at a time; and what it is, in words."""
    from geoloc_core.errors import ConfigError
    from training import export_samples

    if args.noise:
        return export_samples.noise(subject, args.samples), 'noise'
    config, model = file.with_name(export_samples.CONFIG), subject.model
    if args.data is not None and model.FAMILY == 'cross_view':
        found = export_samples.from_data(subject, args.reader, args.data, args.split, args.samples)
        return found, f'{args.reader}: {args.split or "test"} of {args.data.name}'
    if args.data is not None or (not config.is_file() and model.FAMILY != 'cross_view'):
        raise ConfigError(
            f'{model.NAME} is compared on the validation split of its run, or on --noise: keep '
            'the weights in the folder of their run'
        )
    if not config.is_file():
        raise ConfigError(
            f'{file} does not lie in the folder of a run, so there are no samples to compare on: '
            'say --data DIR (and --reader), or --noise'
        )
    found = export_samples.from_run(subject, config, 'validation', args.samples)
    told = export_samples.told(config, 'validation') or export_samples.told(config, 'train')
    return found, told


def _pictures(
    args: argparse.Namespace, file: Path, subject: 'AbstractSubject'
) -> 'tuple[Iterator[Arrays], str]':
    """What the ranges of int8 come from; nothing for other precisions."""
    from geoloc_core.errors import ConfigError
    from training import export_samples

    if args.precision != 'int8':
        return iter(()), ''
    config, count = file.with_name(export_samples.CONFIG), args.calibrate_samples
    folder = args.calibrate_on or args.data
    if folder is not None and subject.model.FAMILY != 'cross_view':
        raise ConfigError(
            f'--calibrate-on {folder}: {subject.model.NAME} takes its ranges from the training '
            'split of its run: leave the weights in its folder'
        )
    if folder is not None:
        split = args.calibrate_split
        found = export_samples.from_data(subject, args.reader, folder, split, count)
        return found, f'{args.reader}: {split} of {folder.name}'
    if config.is_file():
        found = export_samples.from_run(subject, config, 'train', count)
        return found, export_samples.told(config, 'train')
    raise ConfigError(
        f'{file} does not lie in the folder of a run, so there are no pictures for the ranges of '
        'int8: say --calibrate-on DIR (and --reader)'
    )


def _batch(text: str) -> int:
    """Samples at a time; 0 for any number.

    Raises:
        ConfigError: Neither.
    """
    from geoloc_core.errors import ConfigError

    if text == 'any':
        return 0
    if not text.isdecimal() or int(text) < 1:
        raise ConfigError(f"--batch {text}: expected 1 or more, or 'any'")
    return int(text)


def _tolerances(pairs: Sequence[str]) -> dict[str, float]:
    """MEASURE=VALUE arguments.

    Raises:
        ConfigError: Not of that form.
    """
    from geoloc_core.errors import ConfigError

    made = {}
    for pair in pairs:
        name, _, value = pair.partition('=')
        try:
            made[name] = float(value)
        except ValueError:
            made[name] = -1.0
        if not made[name] >= 0.0:
            raise ConfigError(f'--tolerance {pair}: expected MEASURE=VALUE, e.g. position=0.05')
    return made


if __name__ == '__main__':
    sys.exit(main())
