# SPDX-License-Identifier: Apache-2.0
"""training/RESULTS.md, made of nothing but the tables in training/results."""

from collections.abc import Iterable, Mapping, Sequence
import csv
import json
import math
from pathlib import Path
import statistics

from geoloc_core.errors import DataError
from geoloc_core.models.registry import MODELS
from training.evaluation.protocols import PROTOCOLS
from training.evaluation.published import PUBLISHED_COLUMNS, RELIABILITY
from training.evaluation.tables import (
    ABLATIONS,
    cell,
    CROSS_VIEW,
    EVALUATIONS,
    markdown,
    number,
    read_rows,
    RUNS,
    write_rows,
)

RESULTS = Path(__file__).parents[1] / 'results'
Row = dict[str, str]

_HEAD = {
    'position_mean_m': 'mean m',
    'position_median_m': 'median m',
    'yaw_mean_deg': 'yaw mean °',
    'yaw_median_deg': 'yaw median °',
    'nll': 'NLL',
    'coverage_95': '95 % holds',
    'params_m': 'M parameters',
    'ms_cpu': 'CPU ms',
}
_MORE = {
    'recall_1m': '≤ 1 m',
    'recall_3m': '≤ 3 m',
    'recall_5m': '≤ 5 m',
    'lateral_recall_1m': 'lateral ≤ 1 m',
    'longitudinal_recall_1m': 'along ≤ 1 m',
    'yaw_recall_5deg': 'yaw ≤ 5°',
    'joint_recall_1m_5deg': '1 m and 5°',
    'nees_mean': 'NEES',
    'outside': 'outside',
    'floor_mean_m': 'prior mean m',
    # Not a column of the tables: it follows from the protocol.
    'floor_yaw_mean_deg': 'prior yaw °',
    'samples': 'samples',
}
# Which value of a column is best: the least, the one nearest to this, or none (no bold).
_BEST: dict[str, float | None] = {'coverage_95': 0.95}
_FLOORS = ('floor_mean_m', 'floor_yaw_mean_deg')
# Of a benchmark's figures, what stands in the column ms_cpu, in this order of preference.
_TIMES = ('eager_ms', 'onnx_ms')
# What is the same for all rows of one: it stands in the heading of the table of times.
_MACHINE = ('cpu', 'threads')
_INTRO = """# Cross-view networks: results

Made by `python -m training.results` from the tables in `training/results/`; every row there was
written by the command that stands beside it below. Figures of several seeds are their mean, ±
their standard deviation. Position in metres, yaw in degrees, every sample counted. *NLL*: mean of
-log p(truth), nats per m² rad, or per m² of the place alone where the yaw is given (else it would
say how narrow the bins of yaw are). *95 % holds*: share of samples whose error lies in the
ellipsoid that should hold 95 % of them, (x, y, yaw), or (x, y) where the yaw is given. *NEES*: 3
(or 2) would be right. *prior*: mean errors of the guess that the prior is right; the yaw's is half
of what the protocol allows, as yaws are drawn evenly within it. The best of a column is bold.
"""


def write_results(tables: Path, out: Path) -> Path:
    """Writes the page.

    Args:
        tables: Folder of the CSV files; any of them may be absent.
        out: File to write.

    Returns:
        `out`.

    Raises:
        DataError: A table is damaged.
    """
    rows = read_rows(tables / 'cross_view.csv', CROSS_VIEW)
    details = read_rows(tables / 'evaluations.csv', EVALUATIONS)
    parts = [_INTRO]
    remarks = tables / 'reading.md'
    if remarks.is_file():
        parts.append(remarks.read_text(encoding='utf-8'))
    for key, group in _groups(rows, ('split', 'protocol', 'preset')).items():
        parts.append(f'## {key[0]}, {key[1]}, preset {key[2]}\n\n{_compared(group, _HEAD)}\n')
        more = [
            {**r, 'floor_yaw_mean_deg': _yaw_floor(r['protocol'])}
            for r in details
            if (r['split'], r['protocol'], r['preset']) == key
        ]
        if more:
            parts.append(_compared(more, _MORE) + '\n')
    if not rows:
        parts.append('No network has been judged yet.\n')
    parts += _ablations(read_rows(tables / 'ablations.csv', ABLATIONS))
    parts += _runs(read_rows(tables / 'runs.csv', RUNS))
    parts += _times(tables / 'times.csv')
    parts += _commands(details)
    parts += _published(read_rows(tables / 'published.csv', PUBLISHED_COLUMNS))
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text('\n'.join(parts), encoding='utf-8')
    return out


def add_times(tables: Path, benchmark: Path) -> None:
    """Takes over the times of one run of the benchmark of all systems.

    Args:
        tables: Folder of the CSV files.
        benchmark: JSON: name of a system or of a settings file -> figures. One of a settings
            file wins over one of the same system at its published sizes.

    Raises:
        DataError: The file is not of that form, or a table is damaged.
    """
    try:
        said = json.loads(benchmark.read_text(encoding='utf-8'))
        found = {name: dict(values) for name, values in said.items() if isinstance(values, dict)}
    except (ValueError, TypeError, AttributeError) as error:
        raise DataError(f'{benchmark} is not what `make bench-systems` writes: {error}') from error
    found = {name: values for name, values in found.items() if _time_of(values) is not None}
    if not found:
        raise DataError(f'{benchmark} has no times; expected name -> {_TIMES[0]} -> ms')
    columns = dict.fromkeys(k for values in found.values() for k in values)
    machine = {name: said[name] for name in _MACHINE if name in said}
    rows = [{'name': name, **values, **machine} for name, values in found.items()]
    write_rows(tables / 'times.csv', ('name', *columns, *machine), rows)
    # A settings file says which sizes were trained; the published sizes stand in for it.
    times = {name: _time_of(values) for name, values in found.items()}
    times |= {str(v.get('system', n)): _time_of(v) for n, v in found.items() if n not in MODELS}
    for name, header in (('cross_view.csv', CROSS_VIEW), ('ablations.csv', ABLATIONS)):
        old = read_rows(tables / name, header)
        for row in old:
            if row['system'] in times:
                row['ms_cpu'] = cell(times[row['system']])
        if old:
            write_rows(tables / name, header, old)


def _time_of(values: Mapping[str, object]) -> float | None:
    for name in _TIMES:
        value = values.get(name)
        if isinstance(value, (int, float)):
            return float(value)
    return None


def _yaw_floor(protocol: str) -> str:
    """Mean error of the guess that the yaw is the prior's, degrees; '' for another protocol."""
    rules = PROTOCOLS.get(protocol.partition('_fov')[0])
    return '' if rules is None else cell(rules.half_yaw_deg / 2)


def _groups(rows: Iterable[Row], key: Sequence[str]) -> dict[tuple[str, ...], list[Row]]:
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault(tuple(row[k] for k in key), []).append(row)
    return groups


def _compared(rows: list[Row], head: Mapping[str, str], by: str = 'system') -> str:
    """Systems down, best first; figures across, seeds joined."""
    groups = _groups(rows, (by,))
    first = next(iter(head))
    values = {
        name[0]: {column: [number(row[column]) for row in group] for column in head}
        for name, group in groups.items()
    }
    means = {
        name: {column: _mean(each) for column, each in columns.items()}
        for name, columns in values.items()
    }
    best = {column: _best(column, [means[name][column] for name in means]) for column in head}
    # A share is best when it is large, a distance when it is small.
    sign = -1.0 if 'recall' in first else 1.0
    ordered = sorted(means, key=lambda n: (math.isnan(means[n][first]), sign * means[n][first]))
    lines = []
    for name in ordered:
        count = len(groups[name,])
        cells = [_words(values[name][c], means[name][c] == best[c], c) for c in head]
        lines.append([name, str(count), *cells])
    return markdown([by, 'seeds', *head.values()], lines)


def _mean(values: Sequence[float]) -> float:
    known = [v for v in values if not math.isnan(v)]
    return statistics.fmean(known) if known else math.nan


def _best(column: str, values: Sequence[float]) -> float | None:
    known = [v for v in values if not math.isnan(v)]
    if len(known) < 2 or column in ('nees_mean', 'samples', 'outside', *_FLOORS):
        return None
    wanted = _BEST.get(column)
    if wanted is not None:
        return min(known, key=lambda v: abs(v - wanted))
    return max(known) if 'recall' in column else min(known)


def _words(values: Sequence[float], best: bool, column: str) -> str:
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return '-'
    mean = statistics.fmean(known)
    if column.startswith('coverage') or 'recall' in column or column == 'outside':
        text = f'{100 * mean:.1f} %'
    elif column in ('ms_cpu', 'samples'):
        text = f'{mean:.0f}'
    else:
        text = f'{mean:.2f}'
    if len(known) > 1 and column not in ('params_m', 'ms_cpu', 'samples', *_FLOORS):
        spread = statistics.stdev(known)
        scale = 100 if text.endswith('%') else 1
        text = f'{text} ± {scale * spread:.{1 if scale == 100 else 2}f}'
    return f'**{text}**' if best else text


def _ablations(rows: list[Row]) -> list[str]:
    parts = ['## Ablations\n'] if rows else []
    groups = _groups(rows, ('ablation', 'system', 'split', 'protocol', 'preset'))
    for (ablation, system, split, protocol, preset), group in groups.items():
        parts.append(
            f'### {ablation}: {system}, {split}, {protocol}, preset {preset}\n\n'
            f'{_compared(group, _HEAD, "variant")}\n'
        )
    return parts


def _runs(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    lines = [[row[c] for c in RUNS[:-1]] for row in rows]
    commands = '\n'.join(f'{row["command"]}' for row in rows)
    return [
        f'## Training\n\n{markdown([c.replace("_", " ") for c in RUNS[:-1]], lines, 2)}\n',
        f'```\n{commands}\n```\n',
    ]


def _times(path: Path) -> list[str]:
    if not path.is_file():
        return []
    with path.open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        rows, columns = list(reader), reader.fieldnames or ()
    kept = [c for c in columns if c not in _MACHINE]
    table = markdown([c.replace('_', ' ') for c in kept], [[row[c] for c in kept] for row in rows])
    first = rows[0] if rows else {}
    threads = first.get('threads')
    words = [first.get('cpu'), threads and f'{threads} thread{"s" if threads != "1" else ""}']
    machine = ''.join(f', {word}' for word in words if word)
    title = f'## Time of a frame, all systems in one run{machine} (`make bench-systems`)'
    return [f'{title}\n\n{table}\n']


def _commands(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    commands = '\n'.join(dict.fromkeys(row['command'] for row in rows))
    return [f'## Commands of the evaluations\n\n```\n{commands}\n```\n']


def _published(rows: list[Row]) -> list[str]:
    if not rows:
        return []
    parts = [
        '## Published figures\n\nNot measured here, and on the real data sets: never to be mixed '
        'with the tables above. Letters say where each comes from: '
        + '; '.join(f'**{letter}** {words}' for letter, words in RELIABILITY.items())
        + '.\n'
    ]
    shown = PUBLISHED_COLUMNS[5:11]
    head = ['method', 'supervision', 'mean m', 'median m', 'yaw mean °', 'yaw median °']
    head += ['lateral ≤ 1 m', 'along ≤ 1 m', 'from', 'source', 'note']
    for (data, protocol, area), group in _groups(rows, ('data', 'protocol', 'area')).items():
        lines = []
        for row in group:
            figures = [_share(row[c]) if 'recall' in c else row[c] for c in shown]
            words = [row['reliability'], row['source'], row['note']]
            lines.append([row['method'], row['supervision'], *figures, *words])
        kept = [i for i in range(len(head)) if any(line[i] for line in lines)]
        table = markdown([head[i] for i in kept], [[line[i] for i in kept] for line in lines], 2)
        parts.append(f'### {data}, {area}-area, {protocol} (published)\n\n{table}\n')
    return parts


def _share(text: str) -> str:
    return f'{100 * number(text):.1f} %' if text else ''
