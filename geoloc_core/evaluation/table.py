# SPDX-License-Identifier: Apache-2.0
"""The table a person reads in the terminal: systems down, figures across."""

from collections.abc import Mapping, Sequence

COLUMNS: tuple[tuple[str, str], ...] = (
    ('position_median_m', 'median m'),
    ('position_p95_m', 'p95 m'),
    ('lateral_median_m', 'lateral m'),
    ('longitudinal_median_m', 'along m'),
    ('yaw_median_deg', 'yaw deg'),
    ('outage_position_median_m', 'outage m'),
    ('outside_position_median_m', 'outside m'),
    ('recall_1m', 'in 1 m'),
)


def _cell(key: str, value: object) -> str:
    """A figure as text; '-' for none."""
    if not isinstance(value, (int, float)) or value != value:
        return '-'
    if 'recall' in key or 'coverage' in key:
        return f'{100 * value:.0f} %'
    return f'{value:.2f}' if abs(value) < 100 else f'{value:.0f}'


def systems_table(
    systems: Mapping[str, Mapping[str, object]],
    columns: Sequence[tuple[str, str]] = COLUMNS,
) -> str:
    """Lays out systems against figures.

    Args:
        systems: Name -> figures by key, as in `metrics.json`.
        columns: (key, heading) pairs; a column that no system has is left out.

    Returns:
        The table, lines joined by newlines, no trailing newline.
    """
    shown = [
        (key, heading)
        for key, heading in columns
        if any(_cell(key, figures.get(key)) != '-' for figures in systems.values())
    ]
    rows = [['system', *(heading for _, heading in shown)]]
    for name, figures in systems.items():
        rows.append([name, *(_cell(key, figures.get(key)) for key, _ in shown)])
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        '  '.join(
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines.insert(1, '  '.join('-' * width for width in widths))
    return '\n'.join(lines)
