# SPDX-License-Identifier: Apache-2.0
"""Loss and validation over a run, from its metrics.csv."""

import csv
from pathlib import Path

import numpy as np

from geoloc_core.errors import DataError
from training.evaluation.curves import COLOURS, new_axes

METRICS = 'metrics.csv'
_VALIDATION = 'validation_'
_NOT_CURVES = ('step', 'epoch', 'samples_per_s', 'waited_for_data_percent')


def read_metrics(path: Path) -> dict[str, np.ndarray]:
    """Columns (N,) of a run's metrics.csv; NaN where a row says nothing.

    Raises:
        DataError: No such file, or a value is no number.
    """
    try:
        with path.open(newline='', encoding='utf-8') as file:
            rows = list(csv.DictReader(file))
        names = [name for name in (rows[0] if rows else {}) if name]
        return {name: np.array([float(row[name] or 'nan') for row in rows]) for name in names}
    except (OSError, ValueError, TypeError) as error:
        raise DataError(f'{path}: no metrics of a run can be read ({error})') from error


def write_training_curves(runs: dict[str, Path], out: Path) -> list[Path]:
    """Draws a picture of the losses and one of each validation figure.

    Args:
        runs: Name -> folder of a run.
        out: Folder for the PNG files.

    Returns:
        The files written.

    Raises:
        DataError: A run has no metrics.
    """
    tables = {name: read_metrics(folder / METRICS) for name, folder in runs.items()}
    columns = dict.fromkeys(c for table in tables.values() for c in table)
    losses = [c for c in columns if c.startswith('train_')]
    figures = [c for c in columns if c.startswith(_VALIDATION)]
    others = [c for c in columns if c not in (*losses, *figures, *_NOT_CURVES)]
    out.mkdir(parents=True, exist_ok=True)
    files = []
    for curve in (*losses, *figures, *others):
        figure, axes = new_axes(5.6, 3.4)
        drawn = False
        for index, (name, table) in enumerate(tables.items()):
            values = table.get(curve)
            if values is None or not np.isfinite(values).any():
                continue
            usable = np.isfinite(values)
            steps = table.get('step', np.arange(len(values), dtype=float))
            colour = COLOURS[index % len(COLOURS)]
            axes.plot(steps[usable], values[usable], '.-', ms=3, color=colour, label=name)
            drawn = True
        if not drawn:
            continue
        axes.set(xlabel='step', title=curve.replace('_', ' '))
        if len(tables) > 1:
            axes.legend(frameon=False, fontsize='small')
        files.append(out / f'training_{curve.replace("/", "_")}.png')
        figure.savefig(files[-1], dpi=100)
    if not files:
        raise DataError(f'{", ".join(map(str, runs.values()))}: no figure over steps in {METRICS}')
    return files
