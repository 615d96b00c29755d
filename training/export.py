# SPDX-License-Identifier: Apache-2.0
"""python -m training.export: weights -> a bundle that robots run without torch."""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from geoloc_core.models.base import CrossViewModel
    from geoloc_core.models.descriptor import DescriptorModel
    from geoloc_core.models.pose_model import PoseModel

TEXT = """Turns trained weights into a bundle: model.onnx, the network with its calibration, and
model.json, which says what it must be fed, what it answers and the sha256 of the first. geoloc's
node and `geoloc replay` run bundles with onnxruntime; they need no torch.

Nothing is written before the graph has answered like the network on samples that neither was made
for: both are given the same pictures, and the largest difference of their logits (as a share of
the logits' range) and of their probabilities (total variation) must stay below the tolerances.
The samples are those of --data; without it, of the validation split of the run that the weights
lie in (its config.yaml); with --noise, no pictures at all, which proves less."""

EXAMPLES = """examples:
  python -m training.export out/train/geoloc --out config/models/geoloc
  python -m training.export out/train/ccvpe/best.safetensors --out out/bundles/ccvpe \\
      --data ~/data/VIGOR --samples 32
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
    made.add_argument('--out', type=Path, required=True, metavar='DIR', help='folder to make')
    made.add_argument('--overwrite', action='store_true', help='replace the bundle in --out')
    made.add_argument(
        '--place', metavar='NAME', help='that a pose network learned (the name of its data folder)'
    )
    made.add_argument(
        '--licence', default='Apache-2.0', metavar='SPDX', help='of the weights (Apache-2.0)'
    )
    check = made.add_argument_group('the comparison')
    check.add_argument('--data', type=Path, metavar='DIR', help='data set to take samples from')
    check.add_argument('--reader', default='vigor', help='of it, see `geoloc data list` (vigor)')
    check.add_argument('--split', help='of the reader (its test split)')
    check.add_argument('--samples', type=int, default=16, metavar='N', help='how many (16)')
    check.add_argument('--noise', action='store_true', help='noise instead of samples')
    check.add_argument(
        '--tolerance', type=float, default=1e-3, metavar='SHARE', help='of the logits (1e-3)'
    )
    check.add_argument(
        '--tolerance-probability', type=float, default=0.01, metavar='SHARE',
        help='total variation of the two distributions (0.01)',
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
    from training.evaluation.opening import weights_path
    from training.exporting import make_bundle, require_place, Tolerances, write_bundle

    if args.samples < 1:
        raise ConfigError(f'--samples {args.samples}: expected 1 or more')
    if args.noise and args.data is not None:
        raise ConfigError('--noise and --data exclude each other: what shall be compared on?')
    require_place(args.out, args.overwrite)
    file = weights_path(args.weights)
    model = load_weights(file)
    if model.FAMILY == 'camera_pose':
        return _export_pose(args, file, model)
    if model.FAMILY == 'descriptor':
        return _export_descriptor(args, file, model)
    tolerances = Tolerances(args.tolerance, args.tolerance_probability)
    bundle, parity = make_bundle(model, _samples(args, file, model), args.licence, tolerances)
    write_bundle(bundle, args.out)
    out = bundle.spec.output
    return '\n'.join(
        (
            f'{args.out}: {model.NAME}, {parameter_count(model) / 1e6:.2f} M parameters, '
            f'{len(bundle.weights) / 1e6:.1f} MB',
            f'  answers with {out.yaw_bins} yaws within +-{out.yaw_half_range_deg:g} degrees'
            f'{" (or those it is asked for)" if out.yaw_input else ""}, {out.width} x '
            f'{out.height} cells of {out.gsd:.4g} m',
            f'  {parity}',
        )
    )


def _export_pose(args: argparse.Namespace, file: Path, model: 'PoseModel') -> str:
    """The same for a network that answers with the pose of a camera."""
    from geoloc_core.errors import ConfigError
    from geoloc_core.models.base import parameter_count
    from training.loop.settings import read_config
    from training.pose_exporting import from_run, make_pose_bundle, noise, write_pose_bundle

    config, place = file.with_name('config.yaml'), args.place
    if args.data is not None or (not args.noise and not config.is_file()):
        raise ConfigError(
            f'{model.NAME} is compared on the validation split of its run, or on --noise: keep '
            'the weights in the folder of their run'
        )
    if place is None and config.is_file():
        place = Path(read_config(config).data.root or '').name
    if not place:
        raise ConfigError('--place: say the name of the place that the network learned')
    samples = noise(model, args.samples) if args.noise else from_run(model, config, args.samples)
    bundle, parity = make_pose_bundle(model, samples, place, args.licence)
    write_pose_bundle(bundle, args.out)
    return (
        f'{args.out}: {model.NAME}, {parameter_count(model) / 1e6:.2f} M parameters, '
        f'{len(bundle.weights) / 1e6:.1f} MB\n'
        f'  answers with a pose in {place!r} from {" or ".join(model.inputs.uses)}\n  {parity}'
    )


def _export_descriptor(args: argparse.Namespace, file: Path, model: 'DescriptorModel') -> str:
    """The same for a network that describes pictures."""
    from geoloc_core.errors import ConfigError
    from geoloc_core.models.base import parameter_count
    from training.descriptor_exporting import (
        from_run,
        make_descriptor_bundle,
        noise,
        write_descriptor_bundle,
    )

    config = file.with_name('config.yaml')
    if args.data is not None or (not args.noise and not config.is_file()):
        raise ConfigError(
            f'{model.NAME} is compared on the validation split of its run, or on --noise: keep '
            'the weights in the folder of their run'
        )
    pictures = noise(model, args.samples) if args.noise else from_run(model, config, args.samples)
    bundle, parity = make_descriptor_bundle(model, pictures, args.licence, args.tolerance)
    write_descriptor_bundle(bundle, args.out)
    return (
        f'{args.out}: {model.NAME}, {parameter_count(model) / 1e6:.2f} M parameters, '
        f'{len(bundle.weights) / 1e6:.1f} MB\n'
        f'  describes a picture by {model.size} numbers\n  {parity}'
    )


def _samples(
    args: argparse.Namespace, file: Path, model: 'CrossViewModel'
) -> 'Iterator[dict[str, Tensor]]':
    """What to compare on, one sample at a time."""
    from geoloc_core.errors import ConfigError
    from training import exporting

    if args.noise:
        return exporting.noise(model, args.samples)
    if args.data is not None:
        return exporting.from_data(model, args.reader, args.data, args.split, args.samples)
    config = file.with_name('config.yaml')
    if not config.is_file():
        raise ConfigError(
            f'{file} does not lie in the folder of a run, so there are no samples to compare on: '
            'say --data DIR (and --reader), or --noise'
        )
    return exporting.from_run(model, config, args.samples)


if __name__ == '__main__':
    sys.exit(main())
