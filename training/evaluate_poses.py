# SPDX-License-Identifier: Apache-2.0
"""python -m training.evaluate_poses: errors and honesty of networks that answer with poses."""

import argparse
from collections.abc import Sequence
from dataclasses import replace
import json
import math
from pathlib import Path
import sys
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from training.families.camera_pose import PoseScores
    from training.loop.settings import Config, Split

TEXT = """Judges networks that answer with a camera's pose (vmloc, pose_concatenation, atloc) on a
split of their data, on whole frames and on degraded ones: a modality missing, half of the picture
covered, depth stale, scaled or sparse, noise, low light. Every frame counts: one without an answer
has an infinite error. Beside them what takes no network: the mean pose of the known frames (those
the run was trained on and, unless they are judged, those it was chosen by), and of their poses,
for each frame, the one nearest to the truth, which no retrieval can beat; with --retrieval also
the pose of the known picture that a classical descriptor finds most alike.

columns: share of frames answered; median and mean error of the position (m) and of the rotation
(degrees); shares within 25 cm and 5 degrees, 50 cm and 10 degrees; share of truths within the
95 % ellipsoid of the stated covariance (0.95 if it is honest); median stated deviation."""

EXAMPLES = """examples:
  python -m training.evaluate_poses out/train/vmloc_redkitchen
  python -m training.evaluate_poses out/train/vmloc_redkitchen out/train/atloc_redkitchen \\
      --data frames --split test --json out/poses.json
  python -m training.evaluate_poses out/train/vmloc_heads --poses pgt/sfm/7scenes  # other truth

exit code: 0 done, 1 an error (said in one line)"""
_COLUMNS = (
    *('answered', 'm', 'deg', 'mean m', 'mean deg'),
    *('25cm', '50cm', 'cov95', 'std m', 'std deg'),
)
_NAMES = (
    'answered',
    'translation_median_m',
    'rotation_median_deg',
    'translation_mean_m',
    'rotation_mean_deg',
    'recall_25cm_5deg',
    'recall_50cm_10deg',
    'coverage_95',
    'stated_median_m',
    'stated_median_deg',
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog='python -m training.evaluate_poses',
        description=TEXT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('runs', type=Path, nargs='+', metavar='RUN', help='folders of runs')
    parser.add_argument('--data', type=Path, metavar='DIR', help="else that of the run's settings")
    parser.add_argument('--split', default='test', help='of the reader (test)')
    parser.add_argument('--limit', type=int, metavar='N', help='frames, evenly spread (all)')
    parser.add_argument(
        '--poses', metavar='PATH', help='other true poses of the frames, as the reader takes them'
    )
    parser.add_argument('--whole', action='store_true', help='whole frames only')
    parser.add_argument('--retrieval', action='store_true', help='also compare with retrieval')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there')
    args = parser.parse_args(arguments)
    # Imported here, so that --help answers at once.
    from geoloc_core.errors import GeolocError
    from training.loop.journal import write_json

    try:
        found = {str(run): _judged(run, args) for run in args.runs}
        if args.json is not None:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            write_json(args.json, json.loads(json.dumps(found).replace('Infinity', 'null')))
        return 0
    except (GeolocError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def _judged(run: Path, args: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Condition -> figures of one run, printed as they come."""
    import torch

    from geoloc_core.errors import ConfigError
    from geoloc_core.evaluation.camera_poses import camera_pose_figures
    from geoloc_core.models.weights import load_weights
    from training.evaluation.degraded import CONDITIONS
    from training.evaluation.opening import weights_path
    from training.families.camera_pose import PoseScores, score_poses
    from training.loop.settings import read_config, Split

    file = weights_path(run)
    device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
    model = load_weights(file, device=device)
    if model.FAMILY != 'camera_pose':
        raise ConfigError(f'{file}: {model.NAME} does not answer with poses of a camera')
    made = read_config(file.with_name('config.yaml'))
    options = None if args.poses is None else {'poses': args.poses}
    split = Split(args.split, limit=args.limit, options=options)
    config = replace(made, data=replace(made.data, validation=split))
    if config.devices.threads is not None:
        torch.set_num_threads(config.devices.threads)
    print(f'{run}: {model.NAME}, split {args.split}')
    print('  ' + ' ' * 28 + ''.join(f'{name:>9}' for name in _COLUMNS))
    found: dict[str, dict[str, float]] = {}
    for condition in CONDITIONS[: 1 if args.whole else None]:
        batches = _batches(config, model, args.data, condition)
        scores = PoseScores.joined(list(score_poses(model, batches, device, condition.present)))
        found[condition.name] = _shown(condition.name, _figures(scores))
    # Views that were made of frames are nothing that anyone knew besides these.
    known = [replace(made.data.train, novel_views=None)]
    if made.data.validation is not None and made.data.validation.split != args.split:
        known.append(made.data.validation)
    for name, errors in _references(config, known, model, args).items():
        found[name] = _shown(name, camera_pose_figures(errors))
    return found


def _batches(config: 'Config', model: Any, root: Path | None, condition: Any) -> Any:
    from training.loading import batches_once, make_loader
    from training.loop.data import chosen_indices, open_split, preparation_of, Wanted

    dataset, split = open_split(config.data, 'validation', root)
    made = preparation_of(config.data, split, Wanted(model), augmented=False, seed=0)
    if condition.damage is not None:
        damage = condition.damage
        made = replace(made, augment=lambda sample, index, _: damage(sample, index, dataset))
    batches = batches_once(chosen_indices(dataset, split.limit), config.batch_size)
    return make_loader(dataset, batches, made)


def _references(
    config: 'Config', known: Sequence['Split'], model: Any, args: argparse.Namespace
) -> dict[str, Any]:
    """Name -> errors (N, 6) of answers that take no network, from known splits."""
    from training.evaluation.pose_references import Posed, posed_frames, references
    from training.loop.data import chosen_indices, open_split
    from training.pose_preparation import CameraPosePreparation

    preparation, parts = CameraPosePreparation(model.inputs), []
    for part in (*known, config.data.validation):
        data = replace(config.data, validation=part)
        dataset, split = open_split(data, 'validation', args.data)
        indices = chosen_indices(dataset, split.limit)
        parts.append(posed_frames(dataset, indices, preparation, with_features=args.retrieval))
    return references(Posed.joined(parts[:-1]), parts[-1])


def _figures(scores: 'PoseScores') -> dict[str, float]:
    import numpy as np

    variance = np.diagonal(scores.cov, axis1=1, axis2=2)
    position = np.sqrt(variance[:, :3].sum(axis=1))
    rotation = np.degrees(np.sqrt(variance[:, 3:].sum(axis=1)))
    stated = np.isfinite(position)
    return scores.figures() | {
        'stated_median_m': float(np.median(position[stated])) if stated.any() else math.nan,
        'stated_median_deg': float(np.median(rotation[stated])) if stated.any() else math.nan,
    }


def _shown(name: str, figures: dict[str, float]) -> dict[str, float]:
    """Prints a row; gives it back."""
    cells = [figures.get(key, math.nan) for key in _NAMES]
    text = ''.join('        -' if math.isnan(v) else f'{v:9.3f}' for v in cells)
    print(f'  {name:<28.28}{text}', flush=True)
    return {key: value for key, value in figures.items() if not math.isnan(value)}


if __name__ == '__main__':
    sys.exit(main())
