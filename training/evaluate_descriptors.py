# SPDX-License-Identifier: Apache-2.0
"""python -m training.evaluate_descriptors: do descriptors find the pictures of a place?"""

import argparse
from collections.abc import Iterable, Sequence
from dataclasses import replace
import json
import math
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from geoloc_core.models.descriptor import SamePlace
    from training.datasets.base import AbstractDataset
    from training.description import Described
    from training.loop.settings import Config

TEXT = """Looks for each picture of a split (--split) among those of another (--database), by the
descriptors of trained networks (crossvit_student, crossvit_teacher) and, with --classical, by VLAD
of SIFT features, whose vocabulary is made of the database. A picture is found if one of the first
K shows the same place: both see enough of the same space, as the settings of the first run say
(same_place). A picture that is in the database too is never its own answer; pictures without any
other of their place are counted (answerable) and left out of the shares.

columns: numbers of the descriptor; millions of parameters; billions of multiply-adds a picture;
recall at 1, 5 and 20; capped precision at 5 and 20 (of the pictures of the place, how many are
among the first K, of min(K, all there are)). A teacher is told where its pictures were taken: its
row says how well it can teach, not how well it finds places."""

EXAMPLES = """examples:
  python -m training.evaluate_descriptors out/train/crossvit_student --classical
  python -m training.evaluate_descriptors out/train/crossvit_student out/train/crossvit_teacher \\
      --data rooms --split test --database train --json out/recall.json

exit code: 0 done, 1 an error (said in one line)"""
_COLUMNS = ('numbers', 'M par.', 'G m-a', 'r@1', 'r@5', 'r@20', 'cp@5', 'cp@20')
_NAMES = (
    *('size', 'parameters_m', 'multiply_adds_g', 'recall_at_1', 'recall_at_5', 'recall_at_20'),
    *('capped_precision_at_5', 'capped_precision_at_20'),
)
CLASSICAL = 'vlad of sift'
_BATCH = 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog='python -m training.evaluate_descriptors',
        description=TEXT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('runs', type=Path, nargs='+', metavar='RUN', help='folders of runs')
    parser.add_argument('--data', type=Path, metavar='DIR', help="else that of the runs' settings")
    parser.add_argument('--split', default='test', help='pictures to find for (test)')
    parser.add_argument('--database', default='train', help='pictures to find (train)')
    parser.add_argument('--limit', type=int, metavar='N', help='of each, evenly spread (all)')
    parser.add_argument('--classical', action='store_true', help='VLAD of SIFT beside them')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there')
    args = parser.parse_args(arguments)
    # Imported here, so that --help answers at once.
    from geoloc_core.errors import GeolocError
    from training.loop.journal import write_json

    try:
        found = _all_judged(args)
        if args.json is not None:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            numbers = {
                name: {k: v if math.isfinite(v) else None for k, v in figures.items()}
                for name, figures in found.items()
            }
            write_json(args.json, json.loads(json.dumps(numbers)))
        return 0
    except (GeolocError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def _all_judged(args: argparse.Namespace) -> dict[str, dict[str, float]]:
    from training.evaluation.opening import weights_path
    from training.loop.settings import read_config

    found: dict[str, dict[str, float]] = {}
    rule: SamePlace | None = None
    config: Config | None = None
    names = [*map(str, args.runs), *([CLASSICAL] if args.classical else [])]
    width = max(map(len, names))
    for run in args.runs:
        file = weights_path(run)
        own = read_config(file.with_name('config.yaml'))
        figures, its_rule = _judged(file, own, rule, args)
        if rule is None or config is None:
            rule, config = its_rule, own
            print(
                f'{args.split} looked for in {args.database}: {figures["queries"]:.0f} pictures '
                f'({figures["answerable"]:.0f} answerable) in {figures["database"]:.0f}'
            )
            print(heading(width))
        found[str(run)] = figures
        print(line(str(run), figures, width), flush=True)
    if args.classical:
        assert rule is not None and config is not None
        found[CLASSICAL] = _classical(config, rule, args)
        print(line(CLASSICAL, found[CLASSICAL], width), flush=True)
    return found


def _judged(
    file: Path, config: 'Config', rule: 'SamePlace | None', args: argparse.Namespace
) -> tuple[dict[str, float], 'SamePlace']:
    """Figures of one run, and what it counts as the same place."""
    import torch

    from geoloc_core.errors import ConfigError
    from geoloc_core.models.base import parameter_count
    from geoloc_core.models.cost import multiply_adds
    from geoloc_core.models.weights import load_weights
    from training.description import describe, Described, place_figures
    from training.loading import batches_once, make_loader
    from training.loop.data import preparation_of, Wanted

    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    model = load_weights(file)
    if model.FAMILY != 'descriptor':
        raise ConfigError(f'{file}: {model.NAME} does not describe pictures')
    if config.devices.threads is not None:
        torch.set_num_threads(config.devices.threads)
    view, side = model.view, model.patches_a_side
    extra = {
        'rays': torch.ones(1, side**2, 3),
        'ranges': torch.ones(1, side**2),
        'camera': torch.tensor([[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]),
    }
    picture = torch.zeros(1, 3, view.height, view.width)
    cost = multiply_adds(model, picture, **{name: extra[name] for name in model.EXTRA_INPUTS})
    model = model.to(device)

    def described(part: str) -> Described:
        dataset, split, indices = _opened(config, part, args)
        made = preparation_of(config.data, split, Wanted(model), augmented=False, seed=0)
        loader = make_loader(dataset, batches_once(indices, _BATCH), made)
        parts = [p for p in describe(model, loader, device) if len(p)]
        return replace(Described.joined(parts), rule=rule or model.same_place)

    queries = described(args.split)
    database = None if args.database == args.split else described(args.database)
    figures = place_figures(queries, database)
    sizes = {
        'size': float(model.size),
        'parameters_m': parameter_count(model) / 1e6,
        'multiply_adds_g': cost / 1e9,
    }
    return sizes | figures, model.same_place


def _classical(config: 'Config', rule: 'SamePlace', args: argparse.Namespace) -> dict[str, float]:
    """Figures of a descriptor that is not trained."""
    from geoloc_core.features.global_descriptor import Vlad
    from geoloc_core.features.registry import open_features
    from training.description import place_figures

    features = open_features('sift')
    parts = {}
    for part in dict.fromkeys((args.split, args.database)):
        dataset, _, indices = _opened(config, part, args)
        parts[part] = list(_with_features(dataset, indices, features))
    vlad = Vlad.trained([local.descriptors for _, local in parts[args.database]])
    queries = _described(parts[args.split], vlad, rule)
    database = None
    if args.database != args.split:
        database = _described(parts[args.database], vlad, rule)
    return {'size': float(vlad.size)} | place_figures(queries, database)


def _with_features(dataset: 'AbstractDataset', indices: Iterable[int], features: Any) -> Any:
    from training.datasets.base import UnreadableError

    for index in indices:
        try:
            sample = dataset.sample(int(index))
        except UnreadableError:
            continue
        if sample.T_map_camera is not None:
            yield sample, features.detect(sample.view.image)


def _described(parts: list[Any], vlad: Any, rule: 'SamePlace') -> 'Described':
    import numpy as np

    from training.datasets.observations import padded_points, points_seen, world_of
    from training.description import Described

    return Described.joined(
        [
            Described(
                tuple(sample.key for sample, _ in parts),
                tuple(world_of(sample) for sample, _ in parts),
                np.stack([vlad.describe(None, local) for _, local in parts]),
                np.stack([padded_points(points_seen(sample)) for sample, _ in parts]),
                rule,
            )
        ]
    )


def _opened(config: 'Config', part: str, args: argparse.Namespace) -> tuple[Any, Any, Any]:
    """Data set, split and indices of a part."""
    from training.loop.data import chosen_indices, open_split
    from training.loop.settings import Split

    data = replace(config.data, validation=Split(part, limit=args.limit))
    dataset, split = open_split(data, 'validation', args.data)
    return dataset, split, chosen_indices(dataset, args.limit)


def heading(width: int) -> str:
    """The first line of the table, over names of at most `width` characters."""
    return '  ' + ' ' * width + ''.join(f'{name:>8}' for name in _COLUMNS)


def line(name: str, figures: dict[str, float], width: int) -> str:
    """The line of one run; '-' for what is not among its figures."""
    cells = [figures.get(key, math.nan) for key in _NAMES]
    text = ''.join(
        '       -' if math.isnan(v) else f'{v:8.0f}' if i == 0 else f'{v:8.3f}'
        for i, v in enumerate(cells)
    )
    return f'  {name:<{width}}{text}'


if __name__ == '__main__':
    sys.exit(main())
