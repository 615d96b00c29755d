# SPDX-License-Identifier: Apache-2.0
"""Figures on their way into RESULTS.md and JSON."""

import json

from tests.benchmarks import results


def test_a_text_stands_above_the_figures_that_are_listed(tmp_path, monkeypatch):
    monkeypatch.setattr(results, 'ROOT', tmp_path)
    monkeypatch.setattr(results, 'RESULTS', tmp_path / 'RESULTS.md')
    results.write('other', {'kept': 1}, 'make other')
    for worth in (1.0, 2.0):
        figures = {'row': {'a_ms': worth}, 'best': 1.23456}
        table = '| system |\n|---|\n| row |'
        path = results.write('engines', figures, 'make it', table, {'best': 1.23456})
    text = (tmp_path / 'RESULTS.md').read_text()
    assert '| row |\n\n| figure | value |\n|---|---|\n| best | 1.235 |\n' in text
    assert 'a_ms' not in text and text.count('## engines') == 1
    assert '| kept | 1 |' in text
    assert json.loads(path.read_text()) == {'row': {'a_ms': 2.0}, 'best': 1.235}
