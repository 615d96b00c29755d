# SPDX-License-Identifier: Apache-2.0
"""The command that scores lists of poses: two truths, absent pictures, bad arguments."""

import json

import numpy as np
import pytest

from geoloc_core.formats.pose_list import write_pose_list
from geoloc_core.geometry import se3
from training.score_poses import main

NAMES = [f'seq-01/frame-{k:06d}.color.png' for k in range(4)]


@pytest.fixture
def lists(tmp_path):
    truth = {name: se3.from_xyz_rpy(k, 0.5, -0.2, 0.1, 0.2, 0.3) for k, name in enumerate(NAMES)}
    # The other truth lies 4 cm beside the first; the answers follow that one.
    other = {name: se3.make(np.eye(3), [0, 0.04, 0]) @ T for name, T in truth.items()}
    answers = {name: other[name] for name in NAMES[:3]}
    for name, poses in (('tracking', truth), ('sfm', other), ('answers', answers)):
        write_pose_list(tmp_path / f'{name}.txt', poses)
    return tmp_path


def test_the_answers_are_scored_by_both_truths(lists, capsys):
    truths = [f'--truth={name}={lists / name}.txt' for name in ('tracking', 'sfm')]
    out = lists / 'out' / 'scores.json'
    assert main([str(lists / 'answers.txt'), *truths, '--json', str(out)]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == 'tracking: 4 pictures' and said[3] == 'sfm: 4 pictures'
    scores = json.loads(out.read_text())
    tracking, sfm = (scores[name][str(lists / 'answers.txt')] for name in ('tracking', 'sfm'))
    assert tracking['answered'] == sfm['answered'] == 0.75
    assert tracking['translation_median_m'] == pytest.approx(0.04)
    assert sfm['translation_median_m'] == pytest.approx(0.0, abs=1e-6)
    assert (tracking['recall_2cm_2deg'], sfm['recall_2cm_2deg']) == (0.0, 0.75)
    assert tracking['recall_5cm_5deg'] == 0.75
    # A mean over a frame without an answer is infinite, which JSON cannot say.
    assert tracking['translation_mean_m'] is None


@pytest.mark.parametrize(
    ('truth', 'said'),
    [('tracking.txt', 'NAME=FILE'), ('a=absent.txt', 'no list of poses absent.txt')],
)
def test_what_people_get_wrong(lists, capsys, truth, said):
    assert main([str(lists / 'answers.txt'), '--truth', truth]) == 1
    assert said in capsys.readouterr().err


def test_lists_of_other_scenes_are_refused(lists, capsys):
    write_pose_list(lists / 'office.txt', {'office/1.png': np.eye(4)})
    assert main([str(lists / 'office.txt'), '--truth', f'a={lists / "sfm.txt"}']) == 1
    assert 'are they of one scene' in capsys.readouterr().err
