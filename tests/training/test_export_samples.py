# SPDX-License-Identifier: Apache-2.0
"""What a bundle is compared on: samples of a folder, or of the run that made the weights."""

import pytest
import torch

from geoloc_core.errors import DataError
from tests.training.evaluation import tiny
from training import export_samples, exporting
from training.cross_view_exporting import CrossViewSubject


@pytest.fixture(scope='module', autouse=True)
def _tiny_is_known():
    tiny.install()


def test_no_samples_is_an_error():
    model = tiny.Tiny()
    with pytest.raises(DataError, match='no samples'):
        exporting.compare(CrossViewSubject(model), None, [])


def test_sample_that_cannot_be_read_is_left_out(tmp_path):
    subject = CrossViewSubject(tiny.Tiny())
    assert len(list(export_samples.from_data(subject, 'eight', tmp_path, 'torn', 9))) == 1


CONFIG = """
system: {{name: tiny_judged}}
objective: {{name: volume}}
data:
  reader: eight
  root: {root}
  train: {{split: train}}
  validation: {validation}
batch_size: 1
steps: 1
optimizer: {{name: adam, lr: 1.0e-3}}
schedule: {{name: constant}}
"""


def test_samples_of_the_run_that_made_the_weights(tmp_path):
    subject = CrossViewSubject(tiny.Tiny())
    config = tmp_path / 'config.yaml'
    config.write_text(CONFIG.format(root=tmp_path, validation='{split: test}'))
    found = list(export_samples.from_run(subject, config, 'validation', 2))
    assert len(found) == 2 and found[0]['view'].shape == (1, 3, 32, 64)
    assert found[0]['view'].dtype == torch.float32 and not found[0]['view'].equal(found[1]['view'])
    learned = list(export_samples.from_run(subject, config, 'train', 9))
    assert len(learned) == 3 and not learned[0]['view'].equal(found[0]['view'])
    assert export_samples.told(config, 'train') == f'eight: train of {tmp_path.name}'
    config.write_text(CONFIG.format(root=tmp_path, validation='null'))
    assert export_samples.told(config, 'validation') == ''
    # What kept nothing back is compared on what it learned.
    again = list(export_samples.from_run(subject, config, 'validation', 9))
    assert len(again) == 3 and again[0]['view'].equal(learned[0]['view'])
