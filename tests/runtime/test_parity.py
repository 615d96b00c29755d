# SPDX-License-Identifier: Apache-2.0
"""How far answers lie apart: known answers, signs, and what cannot be compared."""

from dataclasses import replace
import math

import numpy as np
import pytest

from geoloc_core.errors import BundleError
from geoloc_core.export_record import AccuracyFigure, ExportRecord, ParityFigure, TensorRecord
from geoloc_core.geometry import se3
from geoloc_core.runtime.parity import (
    bin_yaws,
    descriptor_difference,
    figures_of,
    pose_difference,
    VOLUME,
    volume_difference,
)
from geoloc_core.runtime.parity_sample import ParitySample
from geoloc_core.spec import OutputSpec
from geoloc_core.strict_json import read_record, write_record

YAWS = np.radians([-20.0, 0.0, 20.0])
RECORD = ExportRecord(
    precision='int8',
    batch=0,
    training_data='vigor: train of town',
    calibration='',
    quantized_on='vigor: train of town',
    quantized_samples=64,
    compared_on='noise',
    compared=4,
    parity=(ParityFigure('position', 'm', 0.1, 2.0, 0.5, 'median'),),
    accuracy=(AccuracyFigure('median position error', 'm', 1.0, 1.1),),
    accuracy_samples=4,
    tensors=(TensorRecord('view', (-1, 3, 4, 5), 'as it is'),),
)


def peak(k, v, u, shape=(1, 3, 6, 9)):
    logits = np.full(shape, -40.0, np.float32)
    logits[0, k, v, u] = 5.0
    return logits


def test_peaks_apart_are_metres_and_degrees_apart():
    # Three cells east and four north, one bin counter-clockwise.
    found = volume_difference(peak(1, 5, 2), peak(2, 1, 5), YAWS, cell_m=0.5)
    assert found['position'] == pytest.approx(0.5 * 5.0)
    # The chord of 20 degrees.
    assert found['yaw'] == pytest.approx(math.degrees(2 * math.sin(math.radians(10.0))))
    assert found['probability'] == pytest.approx(1.0)
    assert found['log-probability'] == pytest.approx(45.0)


def test_what_only_shifts_all_logits_is_no_difference():
    logits = np.random.default_rng(0).normal(size=(1, 3, 6, 9)).astype(np.float32)
    found = volume_difference(logits, logits + np.float32(2.0), YAWS, 1.0)
    assert max(found.values()) < 1e-5


def test_cells_that_nobody_believes_in_do_not_count():
    wanted = peak(1, 2, 2)
    found = wanted.copy()
    found[0, 0, 0, 0] = -20.0
    assert volume_difference(wanted, found, YAWS, 1.0)['log-probability'] < 1e-6


def test_a_yaw_that_is_not_known_does_not_differ():
    closed = -np.pi + 2 * np.pi * np.arange(4) / 4
    flat = np.zeros((1, 4, 2, 3), np.float32)
    flat[0, 0, 0, 0] = 1e-3
    turned = np.zeros((1, 4, 2, 3), np.float32)
    turned[0, 2, 0, 0] = 1e-3
    assert volume_difference(flat, turned, closed, 1.0)['yaw'] < 0.1


@pytest.mark.parametrize(
    ('wanted', 'found', 'words'),
    [
        (peak(0, 0, 0), peak(0, 0, 0, (1, 3, 9, 6)), 'answers with'),
        (peak(0, 0, 0), np.full((1, 3, 6, 9), np.nan), 'not all finite'),
        (np.zeros((1, 3, 6, 9)), peak(0, 0, 0), 'the same everywhere'),
    ],
)
def test_what_cannot_be_compared(wanted, found, words):
    with pytest.raises(BundleError, match=words):
        volume_difference(wanted, found, YAWS, 1.0)


def test_poses_and_descriptors_apart():
    cov = np.diag([0.04, 0.04, 0.04, 0.01, 0.01, 0.01])
    wanted = np.array([1.0, 2.0, 3.0]), np.eye(3), cov
    turned = se3.exp_rotation(np.radians([0.0, 0.0, 7.0]))
    found = pose_difference(wanted, (np.array([1.0, 2.3, 2.6]), turned, 1.5 * cov))
    assert found['position'] == pytest.approx(0.5)
    assert found['rotation'] == pytest.approx(7.0)
    assert found['covariance'] == pytest.approx(0.5)
    half = se3.exp_rotation(np.array([0.0, np.pi, 0.0]))
    upside_down = pose_difference(wanted, (wanted[0], half, cov))
    assert upside_down['rotation'] == pytest.approx(180.0)
    a, b = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    assert descriptor_difference(a, b)['distance'] == pytest.approx(math.sqrt(2))


def test_median_and_worst_are_held_to_account():
    each = [dict.fromkeys(VOLUME, value) for value in (0.1, 0.2, 3.0)]
    limits = dict.fromkeys(VOLUME, 0.5)
    assert not any(f.kept for f in figures_of(each, VOLUME, limits, 'worst'))
    figures = figures_of(each, VOLUME, limits, 'median')
    assert all(f.kept for f in figures)
    assert (figures[0].median, figures[0].worst) == (0.2, 3.0)
    with pytest.raises(BundleError, match='no number'):
        figures_of([dict.fromkeys(VOLUME, math.nan)], VOLUME, limits, 'median')


def test_bins_are_those_of_the_specification():
    half = OutputSpec('o', 'log_likelihood', 5, 30.0, '', 4, 3, 1.0, 1.0)
    np.testing.assert_allclose(np.degrees(bin_yaws(half)), [-30, -15, 0, 15, 30])
    closed = replace(half, yaw_bins=4, yaw_half_range_deg=180.0)
    np.testing.assert_allclose(np.degrees(bin_yaws(closed)), [-180, -90, 0, 90])


# ---- what is written down ----


def test_a_record_survives_its_json():
    import json

    text = write_record(RECORD)
    assert read_record('export', json.loads(text), ExportRecord) == RECORD
    assert not RECORD.broken
    for wrong in ({'precision': 'fp8'}, {'batch': -1}):
        with pytest.raises(BundleError, match='export'):
            replace(RECORD, **wrong)
    with pytest.raises(BundleError, match='held'):
        replace(RECORD.parity[0], held='most')


def test_a_sample_survives_its_file():
    sample = ParitySample(
        {'view': np.ones((1, 2, 3), np.float32)}, {'logits': np.zeros((1, 4), np.float32)}
    )
    again = ParitySample.from_bytes(sample.to_bytes())
    np.testing.assert_array_equal(again.inputs['view'], sample.inputs['view'])
    assert again.answers['logits'].shape == (1, 4)
    assert sample.to_bytes() == sample.to_bytes()


def test_samples_that_are_none(tmp_path):
    whole = ParitySample({'v': np.ones(2, np.float32)}, {'a': np.ones(2, np.float32)}).to_bytes()
    with pytest.raises(BundleError, match='damaged'):
        ParitySample.from_bytes(whole[:-30])
    np.savez(tmp_path / 'a.npz', **{'input/v': np.array([{}], dtype=object)})
    with pytest.raises(BundleError, match='damaged'):
        ParitySample.from_bytes((tmp_path / 'a.npz').read_bytes())
    np.savez(tmp_path / 'b.npz', other=np.ones(2))
    with pytest.raises(BundleError, match='expected inputs and answers'):
        ParitySample.from_bytes((tmp_path / 'b.npz').read_bytes())
