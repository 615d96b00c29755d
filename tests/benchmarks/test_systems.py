# SPDX-License-Identifier: Apache-2.0
"""The benchmark of all systems: what it counts, and what it does with one that fails."""

from pathlib import Path

import pytest

from geoloc_core.errors import ConfigError
from tests.benchmarks.systems import cpu_name, entries, measure, table
from tests.models.test_orienternet_aerial import TINY

CONFIGS = Path(__file__).resolve().parents[2] / 'config' / 'train'


def test_published_and_compact_systems_are_rows():
    rows = entries([CONFIGS / 'orienternet_aerial.yaml'], ['hc_net'])
    assert rows['hc_net'] == ('hc_net', {})
    name, settings = rows['orienternet_aerial (train)']
    assert name == 'orienternet_aerial' and settings['yaw_bins'] == 64
    with pytest.raises(ConfigError, match="'hcnet'"):
        entries([], ['hcnet'])


def test_one_that_fails_is_a_row_that_says_so(capsys):
    figures = measure('orienternet_aerial', {'camera': 'fisheye'}, 1, 1)
    assert "camera is 'fisheye'" in figures['error'] and 'eager_ms' not in figures
    assert "camera is 'fisheye'" in table({'mine': figures})


@pytest.mark.slow
def test_figures():
    figures = measure('orienternet_aerial', TINY, 3, 1)
    assert 'error' not in figures
    assert figures['view'] == '32x64' and figures['answer'] == '8x20x24'
    assert figures['eager_runs'] == figures['onnx_runs'] == 3
    assert min(figures[key] for key in ('eager_ms', 'onnx_ms', 'machine_ms', 'onnx_mb')) > 0
    assert figures['onnx_diff'] < 1e-3
    assert f'{figures["onnx_diff"]:.1e}' in table({'mine': figures})


def test_the_processor_has_a_name():
    assert cpu_name().strip() and cpu_name().endswith(' CPUs)')
