# SPDX-License-Identifier: Apache-2.0
"""The benchmark of engines: what it counts, and what stands for all rows."""

import pytest

from geoloc_core.models.registry import known_models
from tests.benchmarks.engine_table import AUTHORS_EAGER_S, summary, table, with_ratios
from tests.benchmarks.engines import arguments, exported, row, SETTINGS
from tests.models.test_orienternet_aerial import TINY

ROWS = {
    'geoloc': {'onnx_ms': 10.0, 'onnx_kept': True, 'rtx': 'built'},
    'hc_net': {'eager_ms': 200.0, 'onnx_ms': 60.0, 'onnx_kept': True, 'rtx': 'no layer for X'},
    'ccvpe': {'eager_ms': 500.0, 'onnx_kept': False, 'rtx': 'built'},
    'torn': {'error': 'cannot be traced'},
}


def test_what_stands_for_all():
    figures = summary(ROWS, {'frame_ms': {'p50': 20.0, 'p99': 30.0}})
    # One that fails has failed to keep to its network as well.
    assert figures['parity_failures'] == 2 and figures['tensorrt_rtx_build_failures'] == 1
    ours = figures['geoloc']
    assert ours['ms_p50'] == 20.0
    assert ours['speedup_vs_hc_net_eager'] == 20.0 and ours['speedup_vs_ccvpe_eager'] == 50.0
    assert ours['speedup_vs_hc_net_exported'] == 6.0
    assert ours['frame_speedup_vs_hc_net_exported'] == 3.0
    assert 'cannot be traced' in table(ROWS)
    absent = summary({'geoloc': {'onnx_kept': True, 'rtx': 'not installed'}}, None)
    assert absent['tensorrt_rtx_build_failures'] is None and absent['parity_failures'] == 0


def test_a_row_is_held_against_its_export_and_its_authors_code():
    made = with_ratios('ccvpe', {'eager_ms': 700.0, 'onnx_ms': 350.0}, 2)
    # 1.4 s of theirs.
    assert made['export_speedup'] == 2.0 and made['vs_authors_eager'] == pytest.approx(2.0)
    # Theirs was measured on two threads.
    assert 'vs_authors_eager' not in with_ratios('ccvpe', {'eager_ms': 700.0}, 1)
    assert with_ratios('torn', {'error': 'x'}, 2) == {'error': 'x'}
    assert set(AUTHORS_EAGER_S) <= set(known_models())


def test_who_misses_is_named():
    rows = {
        'geoloc': {'eager_ms': 15.0, 'onnx_ms': 14.0},
        'hc_net': {'eager_ms': 400.0, 'onnx_ms': 100.0},
        'ccvpe': {'eager_ms': 1000.0, 'onnx_ms': 900.0},
        'vmloc': {'error': 'cannot be traced'},
    }
    figures = summary({name: with_ratios(name, r, 2) for name, r in rows.items()}, None)
    assert figures['slower_than_authors_names'] == 'hc_net, vmloc'
    assert figures['export_speedup_missed_names'] == 'ccvpe, vmloc'
    assert figures['slower_than_authors'] == figures['export_speedup_missed'] == 2


def test_the_table_has_a_row_a_system():
    row = {'params_m': 1.0, 'onnx_parity': {'position': 1e-5, 'yaw': 2e-4}, 'rtx_build_s': 3.0}
    text = table({'geoloc': row, 'torn': {'error': 'no a|b'}})
    head, ruler, first, second = text.splitlines()
    assert head.count('|') == ruler.count('|') == first.count('|') == second.count('|')
    assert 'position 1.0e-05, yaw 2.0e-04' in first and 'no a/b' in second


def test_every_system_that_robots_run_is_a_row():
    wanted = set(arguments().parse_args([]).systems)
    # A teacher stays at home.
    assert wanted == set(known_models()) - {'crossvit_teacher'}
    assert set(SETTINGS) <= wanted


@pytest.mark.slow
def test_figures_of_a_row():
    options = {'repeat': 3, 'samples': 2, 'threads': 1, 'no_int8': False}
    figures = row('orienternet_aerial', TINY, options)
    assert 'error' not in figures and figures['onnx_kept']
    for key in ('eager_ms', 'tuned_ms', 'onnx_ms', 'int8_ms', 'onnx_mb', 'int8_mb', 'params_m'):
        assert figures[key] > 0, key
    assert figures['int8_mb'] < figures['onnx_mb']


def test_one_that_fails_is_a_row_that_says_so(capsys):
    options = {'repeat': 1, 'samples': 1, 'threads': 1, 'no_int8': True}
    figures = exported('orienternet_aerial', {'camera': 'fisheye'}, options)
    assert "camera is 'fisheye'" in figures['error'] and 'onnx_ms' not in figures
    assert summary({'x': figures}, None)['parity_failures'] == 1
