# SPDX-License-Identifier: Apache-2.0
"""Do descriptors find the places of a rendered world: teachers, students, and a classical one?

    python -m tests.benchmarks.crossvit [--count 900] [--rooms 6] [--streets 3] [--epochs 30]
                                        [--px 240]

Renders rooms and streets in the layout of 7-Scenes, trains three teachers (published: rays and
sines; points where depth measured them; those and rotations), a student of the first and of the
last and one without a teacher by the recipes of config/train, and looks for the pictures of the
test walks among those of the training walks, VLAD of SIFT beside them: in rooms and streets
together, and in either alone. Which pictures show the same place is known from depth and poses.
What is done is not done again: a run that was stopped goes on.
"""

import argparse
from collections.abc import Iterator
import json
from pathlib import Path
import sys

from tests.benchmarks.results import write

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / 'out' / 'bench' / 'crossvit'
# Of the teachers, one thing after the other, so that each effect can be read off.
_DEPTH = 'system.settings.spatial={points: depth, encoding: sine}'
_DEPTH_ROTARY = 'system.settings.spatial={points: depth, encoding: rotary}'
_ALONE = 'objective={name: spatial_contrastive, settings: {pairs: batch}}'
# Across a street the points of a picture lie farther apart than in a room: larger cubes.
_CUBES = 'system.settings.same_place={cell: 0.5, shared: 8, box: percentile, percent: 2.0}'
_SEED = 7
# (width, height) as the recipes reduce to; and small cities, whose drives meet again.
_SIZE = (320, 240)
_HALF_EXTENT_M, _BLOCKS = 80.0, 2


def runs(px: int, folder: Path, streets: bool) -> Iterator[tuple[str, str, list[str]]]:
    """Every run: its name, its recipe, and what differs from that; teachers first.

    Args:
        px: Side of the picture, a multiple of 120; the published 240 gives the published networks.
        folder: Where the runs lie.
        streets: Whether there are streets among the places.

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
        *([_CUBES] if streets else []),
    ]
    taught = 'objective.settings.teacher={}/model.safetensors'
    yield 'teacher', 'crossvit_teacher', sizes
    yield 'teacher_depth', 'crossvit_teacher', [*sizes, _DEPTH]
    yield 'teacher_depth_rotary', 'crossvit_teacher', [*sizes, _DEPTH_ROTARY]
    for teacher, student in (
        ('teacher', 'student'),
        ('teacher_depth_rotary', 'student_depth_rotary'),
    ):
        yield student, 'crossvit_student', [*sizes, taught.format(folder / teacher)]
    yield 'student_alone', 'crossvit_student', [*sizes, _ALONE]


def render(out: Path, count: int, rooms: int, streets: int) -> dict[str, Path]:
    """Renders what is missing of the world.

    Args:
        out: Folder for all data.
        count: Pictures in all, the same number in each room and each city.
        rooms: Rooms.
        streets: Cities; 0 for none.

    Returns:
        Name of a part -> folder of its scenes; the first holds all scenes.
    """
    from geoloc_core.simulation.layouts.dataset import DatasetOptions, render_dataset

    outside = count * streets // (rooms + streets)
    inside = DatasetOptions('7scenes', count - outside, _SIZE, rooms, _SEED)
    parts = {'rooms': out / f'rooms_{inside.count}_{rooms}'}
    print(f'{parts["rooms"]}: {inside.count} pictures', flush=True)
    render_dataset(parts['rooms'], inside)
    if not streets:
        return parts
    parts['streets'] = out / f'streets_{outside}_{streets}'
    print(f'{parts["streets"]}: {outside} pictures', flush=True)
    city = {'half_extent': _HALF_EXTENT_M, 'blocks': _BLOCKS}
    options = DatasetOptions('7scenes-streets', outside, _SIZE, streets, _SEED, **city)
    render_dataset(parts['streets'], options)
    whole = out / f'world_{count}_{rooms}_{streets}'
    whole.mkdir(exist_ok=True)
    for part in parts.values():
        for scene in sorted(path for path in part.iterdir() if path.is_dir()):
            link = whole / scene.name
            if not link.is_symlink():
                link.symlink_to(scene.resolve())
    return {'world': whole, **parts}


def judge(runs_made: list[Path], data: Path, report: Path) -> dict[str, dict] | None:
    """Figures of each run, and of the classical descriptor, on one part; None if it failed."""
    from training.evaluate_descriptors import CLASSICAL
    from training.evaluate_descriptors import main as evaluate

    words = [*map(str, runs_made), '--data', str(data), '--classical', '--json', str(report)]
    if evaluate(words):
        return None
    found = json.loads(report.read_text())
    return {
        Path(name).name if name != CLASSICAL else 'vlad_of_sift': values
        for name, values in found.items()
    }


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
    parser.add_argument('--streets', type=int, default=3, help='small cities, too; 0: none (3)')
    parser.add_argument('--epochs', type=int, default=30, help='passes of each run (30)')
    parser.add_argument('--batch', type=int, default=32, help='rows a step (32)')
    parser.add_argument('--px', type=int, default=240, help='side of the picture (240)')
    parser.add_argument('--folder', type=Path, default=OUT, help='for data and runs')
    args = parser.parse_args(arguments)
    from training.train import main as train

    parts = render(args.folder, args.count, args.rooms, args.streets)
    data = next(iter(parts.values()))
    folder = args.folder / f'{data.name}_{args.px}px_{args.epochs}'
    names = []
    for name, recipe, differs in runs(args.px, folder, args.streets > 0):
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
    figures: dict[str, dict] = {}
    for part, scenes in parts.items():
        found = judge([folder / name for name in names], scenes, folder / f'recall_{part}.json')
        if found is None:
            return 1
        for name, row in found.items():
            # All scenes first; then the same networks in either kind alone.
            figures[name] = {**figures[name], part: row} if name in figures else row
    command = (
        f'python -m tests.benchmarks.crossvit --count {args.count} --rooms {args.rooms} '
        f'--streets {args.streets} --epochs {args.epochs} --batch {args.batch} --px {args.px}'
    )
    print(write('crossvit', figures, command))
    return 0


if __name__ == '__main__':
    sys.exit(main())
