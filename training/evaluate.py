# SPDX-License-Identifier: Apache-2.0
"""Judges trained weights: `python -m training.evaluate --help`."""

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys
from typing import Any

from geoloc_core.errors import ConfigError, GeolocError
from training.evaluation.protocols import AREAS, PROTOCOLS

TEXT = """Runs a network over a split and says how far off it is, and whether its probabilities can
be believed. What the network may know beforehand is the protocol:

{protocols}

A network whose settings cover a smaller range of yaws than the protocol draws is refused; one
that covers a larger one has its belief conditioned on the protocol's. Draws are the same in every
evaluation (--draws). With 2 degrees of freedom (x, y) the yaw is given; with
3 it is asked for as well, and no sample is left out of any figure.

Written to --out: figures.json, figures.csv, table.md (published figures beside, marked), a CSV of
all samples, curves as CSV and PNG (CED, rejection, reliability), and index.html with all of it.

examples:
  python -m training.evaluate runs/ccvpe --data data/vigor --protocol aligned --area cross
  python -m training.evaluate runs/geoloc/best.safetensors --data world/unseen \\
      --split train+validation+test --protocol pm180 --preset hard --split-name unseen_city \\
      --append training/results/cross_view.csv
  python -m training.evaluate runs/hc_net --data data/kitti --reader kitti --protocol kitti_pm10
  python -m training.evaluate runs/ccvpe --data world/unseen --protocol aligned --fov 180"""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    protocols = '\n'.join(f'  {p.name:<11} {p.words}' for p in PROTOCOLS.values())
    made = argparse.ArgumentParser(
        prog='python -m training.evaluate',
        description=TEXT.format(protocols=protocols),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument('weights', type=Path, help='folder of a run, or weights (.safetensors)')
    made.add_argument('--out', type=Path, metavar='DIR', help='default out/evaluate/<system>_...')
    add_data_arguments(made)
    made.add_argument('--dof', type=int, choices=(2, 3), help='2 for aligned, else 3')
    made.add_argument('--batch', type=int, default=8, metavar='N', help='samples at a time')
    made.add_argument('--ms-cpu', type=float, metavar='MS', help='time of a frame; else measured')
    row = made.add_argument_group('row of a table')
    row.add_argument('--append', type=Path, metavar='CSV', help='replaces its own row there')
    row.add_argument('--name', metavar='SYSTEM', help='in the table; else what the weights say')
    row.add_argument('--split-name', metavar='NAME', help='in the table; else the split')
    row.add_argument('--preset', metavar='NAME', default='-', help='conditions of rendered data')
    row.add_argument('--seed', type=int, help='of the training; else what the weights say')
    row.add_argument('--ablation', metavar='NAME', help='what the row is an ablation of')
    row.add_argument('--variant', metavar='NAME', help='and which of its variants')
    return made


def add_data_arguments(made: argparse.ArgumentParser, required: bool = True) -> None:
    """Arguments about the samples, which `training.visualize` takes as well."""
    data = made.add_argument_group('data')
    data.add_argument('--data', type=Path, required=required, metavar='DIR', help='its folder')
    data.add_argument('--reader', default='vigor', help='see `geoloc data list` (vigor)')
    data.add_argument('--split', help="of the reader; several as 'train+test' (its test split)")
    data.add_argument('--protocol', default='aligned', choices=PROTOCOLS, help='(aligned)')
    data.add_argument('--area', default='same', choices=AREAS, help='of VIGOR and KITTI (same)')
    data.add_argument('--fov', type=float, default=360.0, metavar='DEG', help='of a panorama')
    data.add_argument(
        '--prior-m', type=float, metavar='M', help="bound of the prior's error; else the reader's"
    )
    data.add_argument('--draws', type=int, default=0, metavar='SEED', help='of priors and turns')
    data.add_argument('--limit', type=int, metavar='N', help='so many samples, evenly spread')
    data.add_argument(
        '--set', action='append', default=[], metavar='NAME=VALUE', help='option of the reader'
    )
    data.add_argument('--workers', type=int, default=0, metavar='N', help='processes that read')
    data.add_argument('--device', default='auto', help='cpu, cuda, ... (auto)')


def opened(args: argparse.Namespace) -> tuple[Any, dict[str, Any], Any]:
    """The network, its facts, and the samples that the arguments mean.

    Raises:
        GeolocError: Weights, data and protocol do not fit each other, or cannot be read.
    """
    from training.evaluation.opening import ask_within, chosen_device, open_model
    from training.evaluation.protocols import protocol, require_range

    rules = protocol(args.protocol)
    _how(args)
    model, facts = open_model(args.weights, chosen_device(args.device))
    require_range(model, rules)
    ask_within(model, rules)
    return model, facts, opened_samples(args, model)


def opened_samples(args: argparse.Namespace, model: Any) -> Any:
    """The samples that the arguments mean, for a network.

    Raises:
        GeolocError: They cannot be read, or follow no such protocol.
    """
    from training.evaluation.opening import open_samples

    return open_samples(args.reader, args.data, _how(args), args.limit, model.EXTRA_INPUTS)


def _how(args: argparse.Namespace) -> Any:
    from training.evaluation.opening import reader_options
    from training.evaluation.protocols import opening, protocol

    return opening(
        protocol(args.protocol),
        args.reader,
        args.area,
        args.split,
        fov_deg=args.fov,
        half_m=args.prior_m,
        draws=args.draws,
        options=reader_options(args.set),
    )


def evaluate(args: argparse.Namespace) -> int:
    """Runs the evaluation that the arguments describe; 0, or raises a GeolocError."""
    from tqdm import tqdm

    from geoloc_core.models.base import parameter_count
    from training.evaluation.opening import milliseconds
    from training.evaluation.protocols import degrees_of_freedom, protocol
    from training.evaluation.report import beside_published, Evaluation, write_evaluation
    from training.evaluation.tables import markdown
    from training.host import channels_together, keep_memory
    from training.scoring import scored_batches, Scores

    if (args.ablation is None) != (args.variant is None):
        raise ConfigError('--ablation and --variant belong together: give both, or neither')
    if args.batch < 1:
        raise ConfigError(f'--batch {args.batch}: expected 1 or more')
    dof = degrees_of_freedom(protocol(args.protocol), args.dof)
    keep_memory()
    model, noted, samples = opened(args)
    channels_together(model)
    device = next((p.device for p in model.parameters()), 'cpu')
    unreadable: list[str] = []
    parts, first = [], None
    bar = tqdm(total=len(samples), unit='sample', desc=model.NAME, disable=None)
    with bar:
        batches = samples.batches(model, args.batch, args.workers)
        half = samples.opening.half_yaw_deg
        for batch, _, part in scored_batches(model, batches, device, unreadable, half):
            first = batch if first is None else first
            parts.append(part)
            bar.update(len(part))
    scores = Scores.joined(parts)
    assert first is not None
    evaluation = Evaluation(
        system=args.name or model.NAME,
        scores=scores,
        dof=dof,
        facts=_facts(args, noted, samples.opening.split),
        reader=args.reader,
        area=args.area,
        params_m=parameter_count(model) / 1e6,
        ms_cpu=milliseconds(model, first) if args.ms_cpu is None else args.ms_cpu,
    )
    out = args.out or Path(
        'out', 'evaluate', f'{evaluation.system}_{evaluation.facts["protocol"]}'
    )
    files = write_evaluation(out, evaluation)
    print(markdown(*beside_published(evaluation)[:2], 2))
    if unreadable:
        print(f'{len(unreadable)} samples could not be read: {unreadable[0]}')
    print(f'{len(scores)} samples; {files[-1]}')
    if args.append is not None:
        _append(args, evaluation)
    return 0


def _facts(args: argparse.Namespace, noted: dict[str, Any], split: str) -> dict[str, Any]:
    from training.evaluation.runs import portable

    name = args.protocol if args.fov == 360 else f'{args.protocol}_fov{args.fov:g}'
    seed = args.seed if args.seed is not None else noted.get('seed', 0)
    return {
        'split': args.split_name or f'{args.reader} {args.area}-area {split}',
        'protocol': name,
        'preset': args.preset,
        'seed': seed,
        'dof': args.dof or (2 if PROTOCOLS[args.protocol].half_yaw_deg == 0 else 3),
        'command': portable('python -m training.evaluate', sys.argv[1:]),
    }


def _append(args: argparse.Namespace, evaluation: Any) -> None:
    from training.evaluation import tables

    row = {'system': evaluation.system, **evaluation.facts, **evaluation.figures}
    row |= {'ablation': args.ablation, 'variant': args.variant}
    if args.ablation is not None:
        tables.replace_row(args.append, tables.ABLATIONS, tables.ABLATION_KEY, row)
    else:
        tables.replace_row(args.append, tables.CROSS_VIEW, tables.KEY, row)
        more = args.append.with_name('evaluations.csv')
        tables.replace_row(more, tables.EVALUATIONS, tables.KEY, row)
    print(f'row written: {args.append}')


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; errors of use are one line, exit code 1."""
    args = parser().parse_args(arguments)
    try:
        return evaluate(args)
    except (GeolocError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
