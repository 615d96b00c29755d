# SPDX-License-Identifier: Apache-2.0
"""python -m training.score_poses: estimates of camera poses against one or several truths."""

import argparse
from collections.abc import Sequence
import json
import math
from pathlib import Path
import sys

TEXT = """Scores lists of camera poses, one line a picture: name qw qx qy qz tx ty tz, world to
camera, as the field publishes its estimates of 7-Scenes and as `python -m
tests.benchmarks.redkitchen --estimates FILE` writes its own. Every picture of a ground truth
counts: one that a list lacks has an infinite error.

7-Scenes has two ground truths, of depth tracking and of structure from motion, and methods rank
differently in them: give both, each with a name.

columns: share of pictures answered; median error of the position (cm) and of the rotation
(degrees); shares within 2 cm and 2 degrees, 5 cm and 5 degrees, 10 cm and 5 degrees (%)."""

EXAMPLES = """examples:
  python -m training.score_poses estimates/dslam/7scenes/heads_dsac_rgbd.txt \\
      --truth tracking=pgt/dslam/7scenes/heads_test.txt
  python -m training.score_poses mine.txt theirs.txt --json out/scores.json \\
      --truth tracking=pgt/dslam/7scenes/heads_test.txt --truth sfm=pgt/sfm/7scenes/heads_test.txt

exit code: 0 done, 1 an error (said in one line)"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command.

    Returns:
        The exit code.
    """
    parser = argparse.ArgumentParser(
        prog='python -m training.score_poses',
        description=TEXT,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('estimates', type=Path, nargs='+', metavar='FILE', help='lists of poses')
    parser.add_argument(
        '--truth', action='append', required=True, metavar='NAME=FILE', help='a list of true poses'
    )
    parser.add_argument('--json', type=Path, metavar='FILE', help='write all figures there')
    args = parser.parse_args(arguments)
    # Imported here, so that --help answers at once.
    from geoloc_core.errors import ConfigError, GeolocError
    from geoloc_core.evaluation.camera_poses import camera_pose_figures, listed_errors
    from geoloc_core.formats.pose_list import read_pose_list

    try:
        found: dict[str, dict[str, dict[str, float | None]]] = {}
        for text in args.truth:
            name, equals, path = text.partition('=')
            if not (name and equals and path):
                raise ConfigError(f'--truth {text}: expected NAME=FILE')
            truths = {key: pose.T_world_camera for key, pose in read_pose_list(path).items()}
            print(f'{name}: {len(truths)} pictures')
            print('  ' + ' ' * 36 + '    answ.       cm      deg   2cm2deg  5cm5deg 10cm5deg')
            for file in args.estimates:
                answers = {k: pose.T_world_camera for k, pose in read_pose_list(file).items()}
                figures = camera_pose_figures(listed_errors(answers, truths))
                print(_row(str(file), figures))
                found.setdefault(name, {})[str(file)] = {
                    key: value if math.isfinite(value) else None for key, value in figures.items()
                }
        if args.json is not None:
            args.json.parent.mkdir(parents=True, exist_ok=True)
            args.json.write_text(json.dumps(found, indent=2) + '\n', encoding='utf-8')
        return 0
    except (GeolocError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


def _row(name: str, figures: dict[str, float]) -> str:
    cells = [100 * figures['answered'], 100 * figures['translation_median_m']]
    cells.append(figures['rotation_median_deg'])
    cells += [100 * figures[f'recall_{bound}'] for bound in ('2cm_2deg', '5cm_5deg', '10cm_5deg')]
    return f'  {name[-36:]:36}' + ''.join(f'{value:9.2f}' for value in cells)


if __name__ == '__main__':
    sys.exit(main())
