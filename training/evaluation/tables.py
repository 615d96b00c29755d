# SPDX-License-Identifier: Apache-2.0
"""Figures in CSV files under version control: a row a system, split, protocol, preset and seed."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import csv
import fcntl
import io
import math
import os
from pathlib import Path
from typing import Any

from geoloc_core.errors import DataError
from geoloc_core.whole_file import write_whole

KEY = ('system', 'split', 'protocol', 'preset', 'seed')
FIGURES = (
    'position_mean_m',
    'position_median_m',
    'yaw_mean_deg',
    'yaw_median_deg',
    'nll',
    'coverage_95',
    'params_m',
    'ms_cpu',
)
CROSS_VIEW = (*KEY, *FIGURES)
# An ablation's row says in front what was changed.
ABLATION_KEY = ('ablation', 'variant', *KEY)
ABLATIONS = (*ABLATION_KEY, *FIGURES)
# Beside a table of figures: how they were got, and more of them.
MORE_FIGURES = (
    'recall_1m',
    'recall_3m',
    'recall_5m',
    'lateral_recall_1m',
    'longitudinal_recall_1m',
    'yaw_recall_5deg',
    'joint_recall_1m_5deg',
    'nees_mean',
    'floor_mean_m',
    'outside',
    'samples',
)
EVALUATIONS = (*KEY, *MORE_FIGURES, 'command')
# A run of training.
RUNS_KEY = ('run',)
RUNS = ('run', 'system', 'seed', 'samples_seen', 'minutes', 'machine', 'command')


def read_rows(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """Rows of a table; none if there is no such file.

    Raises:
        DataError: The file has other columns.
    """
    if not path.is_file():
        return []
    with path.open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        found = tuple(reader.fieldnames or ())
        if found != tuple(columns):
            raise DataError(
                f'{path} has the columns {", ".join(found)}; expected {", ".join(columns)}: it is '
                'a table of another kind or version'
            )
        rows = list(reader)
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise DataError(f'{path}, line {number}: expected {len(columns)} values')
    return rows


def replace_row(
    path: Path, columns: Sequence[str], key: Sequence[str], row: Mapping[str, Any]
) -> None:
    """Puts a row into a table in place of the one with the same key; rows stay sorted by key.

    Args:
        path: The file; it is made if absent, and never left half written.
        columns: Of the table.
        key: Those of them that tell rows apart.
        row: Column -> value; a column it lacks stays empty.

    Raises:
        DataError: The file has other columns.
    """
    new = {column: cell(row.get(column)) for column in columns}
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.parent):
        rows = read_rows(path, columns)
        rows = [old for old in rows if any(old[k] != new[k] for k in key)] + [new]
        rows.sort(key=lambda each: tuple(each[k] for k in key))
        write_rows(path, columns, rows)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keeps other processes and threads that change tables of this folder waiting."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def write_rows(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a whole table; an older file stays until the new one is complete."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator='\n')
    writer.writeheader()
    writer.writerows({column: cell(row.get(column)) for column in columns} for row in rows)
    write_whole(path, text.getvalue().encode())


def cell(value: Any) -> str:
    """A value as it stands in a table: four significant digits, '' for none."""
    if value is None:
        return ''
    if isinstance(value, bool) or not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return ''
    if not math.isfinite(value):
        return 'inf' if value > 0 else '-inf'
    if value == int(value) and abs(value) < 1e9:
        return str(int(value))
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f'{value:.{digits}f}'.rstrip('0').rstrip('.')


def number(text: str) -> float:
    """The number in a cell; NaN for an empty one.

    Raises:
        DataError: It is no number.
    """
    if not text:
        return math.nan
    try:
        return float(text)
    except ValueError as error:
        raise DataError(f'{text!r} stands in a table where a number was expected') from error


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table for Markdown; the first `left` columns are words, the others numbers."""
    sides = ['---'] * left + ['---:'] * (len(head) - left)
    lines = [head, sides, *rows]
    return '\n'.join(
        '| ' + ' | '.join(str(c).replace('|', '/') for c in line) + ' |' for line in lines
    )
