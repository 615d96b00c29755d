# SPDX-License-Identifier: Apache-2.0
import math

import pytest

from geoloc_core.errors import DataError
from training.evaluation.published import comparable, published, RELIABILITY
from training.evaluation.tables import cell, CROSS_VIEW, KEY, number, read_rows, replace_row


@pytest.mark.parametrize(
    ('value', 'text'),
    [
        (1.23456, '1.235'), (0.00123456, '0.001235'), (12345.6, '12346'), (2.0, '2'),
        (math.nan, ''), (None, ''), (math.inf, 'inf'), (3, '3'), (-0.5, '-0.5'), (100.0, '100'),
    ],
)  # fmt: skip
def test_cells(value, text):
    assert cell(value) == text


def test_numbers_of_cells():
    assert number('1.5') == 1.5 and math.isnan(number(''))
    with pytest.raises(DataError, match='number'):
        number('quick')


def test_columns_are_those_agreed_on():
    assert CROSS_VIEW == (
        'system', 'split', 'protocol', 'preset', 'seed', 'position_mean_m', 'position_median_m',
        'yaw_mean_deg', 'yaw_median_deg', 'nll', 'coverage_95', 'params_m', 'ms_cpu',
    )  # fmt: skip


def test_a_torn_table_is_not_written_over(tmp_path):
    path = tmp_path / 'a.csv'
    path.write_text(','.join(CROSS_VIEW) + '\nccvpe,unseen\n')
    with pytest.raises(DataError, match='line 2'):
        replace_row(path, CROSS_VIEW, KEY, {'system': 'x'})
    assert 'ccvpe' in path.read_text()


def test_published_figures_have_sources_and_are_found_by_protocol():
    rows = published()
    assert all(row['reliability'] in RELIABILITY and row['source'] for row in rows)
    assert 'MEM' not in str(rows)
    found = {row['method']: row for row in comparable('vigor', 'pm180', 'cross')}
    assert found['CCVPE']['position_mean_m'] == '5.41'
    assert not comparable('vigor', 'pm180_fov90', 'cross') and not comparable(
        'ford', 'pm45', 'same'
    )
    shares = [number(row['lateral_recall_1m']) for row in rows]
    assert all(math.isnan(share) or 0 < share <= 1 for share in shares)


def test_no_table_is_no_row(tmp_path):
    assert read_rows(tmp_path / 'none.csv', CROSS_VIEW) == []
