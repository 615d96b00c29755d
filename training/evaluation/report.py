# SPDX-License-Identifier: Apache-2.0
"""What an evaluation leaves behind: tables, a row a sample, curves, and one page of all."""

from collections.abc import Mapping
from dataclasses import dataclass
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from geoloc_core.visualization.page import code, picture, Section, table, words, write_page
from training.evaluation.curves import curve_columns, write_curves
from training.evaluation.published import comparable, PUBLISHED_COLUMNS
from training.evaluation.tables import cell, markdown, write_rows
from training.scoring import Scores

SAMPLE_COLUMNS = (
    'key', 'truth_x', 'truth_y', 'truth_yaw_offset_deg', 'x', 'y', 'yaw_offset_deg', 'error_m',
    'error_east_m', 'error_north_m', 'yaw_error_deg', 'prior_error_m', 'std_x', 'std_y',
    'std_yaw_deg', 'cov_xy', 'cov_x_yaw', 'cov_y_yaw', 'nll', 'log_density', 'nees', 'inside',
)  # fmt: skip
_HEAD = {
    'position_mean_m': 'mean m',
    'position_median_m': 'median m',
    'recall_1m': '≤ 1 m',
    'recall_3m': '≤ 3 m',
    'recall_5m': '≤ 5 m',
    'yaw_mean_deg': 'yaw mean °',
    'yaw_median_deg': 'yaw median °',
    'nll': 'NLL',
    'nees_mean': 'NEES',
    'coverage_95': '95 % holds',
}


@dataclass(frozen=True)
class Evaluation:
    """A network judged on a split.

    Attributes:
        system: Its name.
        scores: Of every sample.
        dof: 2 or 3.
        facts: What a reader must know beside the figures: split, protocol, preset, seed, command.
        reader: Name of the data set's reader.
        area: 'same' or 'cross'.
        params_m: Parameters, millions.
        ms_cpu: Median time of a frame, ms; NaN if not measured.
    """

    system: str
    scores: Scores
    dof: int
    facts: Mapping[str, Any]
    reader: str
    area: str
    params_m: float
    ms_cpu: float

    @property
    def figures(self) -> dict[str, float]:
        """Every figure by name."""
        more = {'params_m': self.params_m, 'ms_cpu': self.ms_cpu}
        return self.scores.figures(self.dof) | more


def write_evaluation(folder: Path, evaluation: Evaluation) -> list[Path]:
    """Writes figures.json, figures.csv, table.md, samples.csv, curves (CSV, PNG) and index.html.

    Returns:
        The files written; index.html last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = evaluation.figures
    plain = {k: v if math.isfinite(v) else None for k, v in figures.items()}
    whole = {'system': evaluation.system, **evaluation.facts, 'figures': plain}
    files = [folder / name for name in ('figures.json', 'figures.csv', 'table.md', 'samples.csv')]
    files[0].write_text(json.dumps(whole, indent=2) + '\n', encoding='utf-8')
    write_rows(
        files[1], ('figure', 'value'), [{'figure': k, 'value': v} for k, v in figures.items()]
    )
    head, rows, _ = beside_published(evaluation)
    files[2].write_text(f'{markdown(head, rows, 2)}\n', encoding='utf-8')
    write_rows(files[3], SAMPLE_COLUMNS, sample_rows(evaluation))
    for name, columns in curve_columns(evaluation.scores, evaluation.dof).items():
        files.append(folder / f'{name}.csv')
        rows_of = [dict(zip(columns, v, strict=True)) for v in zip(*columns.values(), strict=True)]
        write_rows(files[-1], tuple(columns), rows_of)
    pictures = write_curves(folder, {evaluation.system: evaluation.scores}, evaluation.dof)
    return [*files, *pictures, _page(folder, evaluation, pictures)]


def sample_rows(evaluation: Evaluation) -> list[dict[str, Any]]:
    """A row a sample, `SAMPLE_COLUMNS`: m and degrees, in the patch's frame unless said."""
    s = evaluation.scores
    std = np.sqrt(np.diagonal(s.cov, axis1=1, axis2=2))
    deg = np.degrees
    columns = [
        s.keys, *s.truth[:, :2].T, deg(s.truth[:, 2]), *s.pose[:, :2].T, deg(s.pose[:, 2]),
        s.distance, *s.error_xy.T, deg(s.yaw_error), s.floor, *std[:, :2].T, deg(std[:, 2]),
        s.cov[:, 0, 1], s.cov[:, 0, 2], s.cov[:, 1, 2], s.nll, s.log_density,
        s.nees(evaluation.dof), s.inside.astype(int),
    ]  # fmt: skip
    values = [[v.item() if hasattr(v, 'item') else v for v in column] for column in columns]
    return [dict(zip(SAMPLE_COLUMNS, row, strict=True)) for row in zip(*values, strict=True)]


def beside_published(evaluation: Evaluation) -> tuple[list[str], list[list[str]], list[bool]]:
    """Head and rows of a table: ours, the guess that the prior is right, published ones.

    Returns:
        Head, rows, and which of the rows are published.
    """
    figures = evaluation.figures
    head = ['system', 'from', *_HEAD.values()]
    rows = [[evaluation.system, 'measured here', *(cell(figures[k]) for k in _HEAD)]]
    floor = {
        'position_mean_m': 'floor_mean_m',
        'position_median_m': 'floor_median_m',
        'yaw_mean_deg': 'floor_yaw_mean_deg',
        'yaw_median_deg': 'floor_yaw_median_deg',
    }
    empty = float('nan')
    rows.append(
        ['the prior itself', 'measured here']
        + [cell(figures[floor[k]] if k in floor else empty) for k in _HEAD]
    )
    others = comparable(evaluation.reader, str(evaluation.facts['protocol']), evaluation.area)
    for other in others:
        known = {k: other[k] for k in _HEAD if k in PUBLISHED_COLUMNS}
        rows.append(
            [other['method'], f'published: {other["source"]}', *(known.get(k, '') for k in _HEAD)]
        )
    return head, rows, [False, False, *[True] * len(others)]


def _page(folder: Path, evaluation: Evaluation, pictures: list[Path]) -> Path:
    figures, facts = evaluation.figures, evaluation.facts
    head, rows, published = beside_published(evaluation)
    scores = evaluation.scores
    worst = np.argsort(-scores.distance, kind='stable')[:10]
    sections = [
        Section(
            'Result',
            table(head, rows, published)
            + words(
                'Published figures are of the real data sets, as the sources state them; a '
                'rendered world is another task.'
                if any(published)
                else 'No published figure is of this protocol and data set.'
            ),
        ),
        Section('Curves', ''.join(picture(p.read_bytes(), p.stem) for p in pictures)),
        Section(
            'Ten worst samples',
            table(
                ('sample', 'error m', 'yaw error °', 'std m', 'NLL'),
                [
                    (
                        scores.keys[i],
                        cell(float(scores.distance[i])),
                        cell(float(np.degrees(scores.yaw_error[i]))),
                        cell(float(scores.std_m[i])),
                        cell(float(scores.nll[i])),
                    )
                    for i in worst
                ],
            ),
        ),
        Section(
            'Every figure',
            table(('figure', 'value'), [(k, cell(v)) for k, v in figures.items()]),
        ),
        Section('How it was got', code('\n'.join(f'{k}: {v}' for k, v in facts.items()))),
    ]
    if scores.unreadable:
        sections.append(Section('Unreadable samples', code('\n'.join(scores.unreadable))))
    subtitle = (
        f'{len(scores)} samples · {facts["split"]} · {facts["protocol"]} · {facts["preset"]}'
    )
    return write_page(
        folder / 'index.html', f'{evaluation.system}: evaluation', subtitle, sections
    )
