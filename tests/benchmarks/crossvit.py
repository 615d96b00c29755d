# SPDX-License-Identifier: Apache-2.0
"""Do descriptors find the places of rendered rooms: teachers, students, and a classical one?

    python -m tests.benchmarks.crossvit [--count 900] [--rooms 6] [--epochs 30] [--px 240]

Renders rooms in the layout of 7-Scenes, trains two teachers (published: rays and sines; ours:
measured points and rotations), a student of each and one without a teacher by the recipes of
config/train, and looks for the pictures of the test walks among those of the training walks, VLAD
of SIFT beside them. Which pictures show the same place is known from depth and poses. What is
done is not done again: a run that was stopped goes on.
"""

import argparse
from collections.abc import Iterator
import json
from pathlib import Path
import sys

from tests.benchmarks.results import write

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / 'out' / 'bench' / 'crossvit'
_OURS = 'system.settings.spatial={points: depth, encoding: rotary}'
_ALONE = 'objective={name: spatial_contrastive, settings: {pairs: batch}}'
_SEED = 7


def runs(px: int, folder: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Every run: its name, its recipe, and what differs from that; teachers first.

    Args:
        px: Side of the picture, a multiple of 120; the published 240 gives the published networks.
        folder: Where the runs lie.

    Raises:
        ValueError: No such side.
    """
    if px % 120:
        raise ValueError(f'--px {px}: expected a multiple of 120, such as the published 240')
    # The same patches, fewer of them: 240 and 224 px, or 120 and 112.
    sides = (px, px * 14 // 15)
    branch = 'system.settings.{}={{image_px: {}, patch_px: {}, width: {}, heads: 3, depth: {}}}'
    sizes = [
        branch.format('small', sides[0], 12, 96, 1),
        branch.format('large', sides[1], 16, 192, 4),
    ]
    taught = 'objective.settings.teacher={}/model.safetensors'
    yield 'teacher', 'crossvit_teacher', sizes
    yield 'teacher_depth_rotary', 'crossvit_teacher', [*sizes, _OURS]
    for teacher, student in (
        ('teacher', 'student'),
        ('teacher_depth_rotary', 'student_depth_rotary'),
    ):
        yield student, 'crossvit_student', [*sizes, taught.format(folder / teacher)]
    yield 'student_alone', 'crossvit_student', [*sizes, _ALONE]


def main(arguments: list[str] | None = None) -> int:
    """Renders, trains, judges and writes.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('--count', type=int, default=900, help='pictures in all (900)')
    parser.add_argument('--rooms', type=int, default=6, help='rooms that share them (6)')
    parser.add_argument('--epochs', type=int, default=30, help='passes of each run (30)')
    parser.add_argument('--batch', type=int, default=32, help='rows a step (32)')
    parser.add_argument('--px', type=int, default=240, help='side of the picture (240)')
    parser.add_argument('--folder', type=Path, default=OUT, help='for data and runs')
    args = parser.parse_args(arguments)
    from geoloc_ros.cli.main import main as geoloc
    from training.evaluate_descriptors import CLASSICAL
    from training.evaluate_descriptors import main as evaluate
    from training.train import main as train

    data = args.folder / f'rooms_{args.count}_{args.rooms}'
    if not data.is_dir():
        unfinished = data.with_name(f'{data.name}.part')
        words = ['world', 'render', '--layout', '7scenes', '--out', str(unfinished)]
        words += ['--count', str(args.count), '--cities', str(args.rooms), '--size', '240x320']
        if code := geoloc([*words, '--seed', str(_SEED)]):
            return int(code)
        unfinished.rename(data)
    mark = f'{args.px}px_{args.epochs}'
    folder = args.folder / mark
    names = []
    for name, recipe, differs in runs(args.px, folder):
        names.append(name)
        out = folder / name
        if (out / 'model.safetensors').is_file():
            continue
        settings = [
            *differs,
            *(f'batch_size={args.batch}', f'epochs={args.epochs}', 'data.workers=1'),
        ]
        words = [str(ROOT / 'config' / 'train' / f'{recipe}.yaml'), '--out', str(out), '--resume']
        words += ['--data', str(data)]
        for setting in settings:
            words += ['--set', setting]
        if code := train(words):
            return code
    report = folder / 'recall.json'
    words = [str(folder / name) for name in names]
    if code := evaluate([*words, '--classical', '--json', str(report)]):
        return code
    found = json.loads(report.read_text())
    figures = {
        Path(name).name if name != CLASSICAL else 'vlad_of_sift': values
        for name, values in found.items()
    }
    command = (
        f'python -m tests.benchmarks.crossvit --count {args.count} --rooms {args.rooms} '
        f'--epochs {args.epochs} --batch {args.batch} --px {args.px}'
    )
    print(write('crossvit', figures, command))
    return 0


if __name__ == '__main__':
    sys.exit(main())
