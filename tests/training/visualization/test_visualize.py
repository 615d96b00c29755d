# SPDX-License-Identifier: Apache-2.0
import re

import cv2
import pytest

from tests.training import room
from training.visualization.training_curves import read_metrics
from training.visualize import main

METRICS = """step,epoch,train_loss,validation_position_mean_m,lr
10,1,5.0,,0.1
20,2,4.0,12.5,0.1
30,3,3.0,,0.1
40,4,2.5,9.5,0.1
"""


def drawn(tmp_path, *words):
    out = tmp_path / 'pictures'
    return main([*map(str, words), '--out', str(out), '--side', '80']), out


def test_every_kind_that_there_is(tmp_path, run, capsys):
    (run / 'metrics.csv').write_text(METRICS)
    data = ('--data', tmp_path, '--reader', 'eight', '--protocol', 'pm45', '--limit', '4')
    code, out = drawn(tmp_path, run, *data, '--count', '2', '--worst', '3')
    assert code == 0
    folders = {path.name: len(list(path.iterdir())) for path in out.iterdir() if path.is_dir()}
    assert folders == {'heat_maps': 2, 'failures': 3, 'birds_eye': 2, 'grad_cam': 2, 'curves': 3}
    page = (out / 'index.html').read_text()
    assert not re.search(r'(src|href)="?(http|//)', page) and 'Failures' in page
    assert 'attention: not for tiny_judged' in capsys.readouterr().out
    # Worst first: captions tell the errors in falling order.
    part = page.partition('Failures')[2].partition('<h2>')[0]
    errors = [float(e) for e in re.findall(r'<figcaption>[^<]*?: ([\d.]+) m and', part)]
    assert len(errors) == 3 and errors == sorted(errors, reverse=True)


def test_curves_of_several_runs(tmp_path):
    runs = []
    for name in ('a', 'b'):
        runs.append(tmp_path / name)
        runs[-1].mkdir()
        (runs[-1] / 'metrics.csv').write_text(METRICS)
    code, out = drawn(tmp_path, '--runs', *runs)
    assert code == 0 and (out / 'curves' / 'training_train_loss.png').stat().st_size > 1000
    assert read_metrics(runs[0] / 'metrics.csv')['train_loss'].tolist() == [5.0, 4.0, 3.0, 2.5]


@pytest.mark.parametrize(
    ('words', 'said'),
    [
        ((), 'nothing to draw'),
        (('--runs', 'nowhere'), 'no metrics'),
        (('WEIGHTS',), '--data'),
        (('WEIGHTS', '--only', 'dreams'), 'choose some of'),
        (('WEIGHTS', '--only', 'curves'), 'metrics.csv'),
        (('WEIGHTS', '--data', '.', '--count', '0'), '--count'),
        (('NARROW', '--data', '.', '--reader', 'eight', '--protocol', 'pm45'), '+-10 degrees'),
    ],
)
def test_bad_use_is_one_line(tmp_path, run, narrow, capsys, words, said):
    words = [{'WEIGHTS': run, 'NARROW': narrow}.get(word, word) for word in words]
    assert drawn(tmp_path, *words)[0] == 1
    error = capsys.readouterr().err
    assert said in error and error.startswith('error: ')


def test_what_a_recipe_is_fed(tmp_path, capsys):
    room.install()
    recipe = tmp_path / 'recipe.yaml'
    recipe.write_text(
        f"""
system: {{name: atloc, settings: {{width: 48, height: 36, backbone: resnet18, weights: imagenet}}}}
objective: {{name: pose_regression}}
data:
  reader: room
  root: {tmp_path}
  train: {{split: train, novel_views: {{count: 200}}}}
batch_size: 4
epochs: 1
optimizer: {{name: adam, lr: 1.0e-3}}
"""
    )
    code, out = drawn(tmp_path, '--recipe', recipe, '--count', '5')
    assert code == 0
    files = sorted((out / 'fed').glob('*.png'))
    assert len(files) == 5 and any('novel' in file.name for file in files)
    # Colour and depth beside each other, as wide as they are asked for.
    assert cv2.imread(str(files[0])).shape == (60, 168, 3)
    assert 'What recipe.yaml is fed' in (out / 'index.html').read_text()
    assert drawn(tmp_path, '--recipe', recipe, '--count', '500')[0] == 1
    assert 'error' in capsys.readouterr().err
