# SPDX-License-Identifier: Apache-2.0
"""What networks trained on the map frames of `redkitchen` answer to its queries.

Each on whole frames and on degraded ones, as `training.evaluate_poses` judges them; beside them
the known pose nearest to the truth, and that of the picture a classical descriptor finds.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import json
from pathlib import Path
from tempfile import TemporaryDirectory

from geoloc_core.errors import ConfigError
from geoloc_core.models.weights import read_header
from training.evaluate_poses import main as evaluate
from training.evaluation.degraded import CONDITIONS
from training.evaluation.opening import weights_path

_RECIPES = Path(__file__).resolve().parents[2] / 'config' / 'train'
# What takes no network, by its name there: its row here.
_REFERENCES = {
    'nearest known pose (oracle)': 'nearest',
    'nearest picture (VLAD)': 'retrieval',
}
_COLUMNS = (
    *('answered', 'translation_median_cm', 'rotation_median_deg', 'recall_25cm_5deg'),
    *('coverage_95', 'stated_median_cm', 'stated_median_deg'),
)


@dataclass(frozen=True)
class Queries:
    """What all judged runs are asked.

    Attributes:
        folder: Of the frames; the last quarter is judged.
        poses: Other true poses of the frames.
        limit: So many of those frames, evenly spread; None for all.
    """

    folder: Path
    poses: Path | None = None
    limit: int | None = None


def judged(runs: Sequence[Path], queries: Queries) -> dict[str, dict]:
    """Rows of figures, each run's by the name of its system.

    Args:
        runs: Folders of runs by the recipes config/train/*_redkitchen.yaml, or like them.
        queries: What each of them is asked.

    Returns:
        `vmloc`, `atloc_depth`, ... of whole frames, with a nested row for each fault; `nearest`
        and `retrieval`, which know the frames that the first run was trained on and chosen by.

    Raises:
        ConfigError: A run cannot be judged; the reason has been printed.
        BundleError: No weights.
    """
    rows: dict[str, dict] = {}
    for run in runs:
        found = _found(run, queries, retrieval=not rows)
        label = _label(run)
        if label in rows:
            label = f'{label}_{run.resolve().name}'
        whole, *faults = CONDITIONS
        rows[label] = {'run': run.resolve().name, **_row(found[whole.name])}
        rows[label] |= {_key(fault.name): _row(found[fault.name]) for fault in faults}
        rows |= {row: _row(found[name]) for name, row in _REFERENCES.items() if row not in rows}
    return rows


def command_of(rows: Mapping[str, dict]) -> str:
    """The command that judges such runs again, wherever these lie.

    Args:
        rows: Of `judged`.

    Returns:
        It, with each run where `training.train` puts that of its recipe by default; a run that no
        recipe makes, such as a second one of a system, goes by the name of its own folder.
    """
    words = ['python -m tests.benchmarks.redkitchen --regressors']
    for label, row in rows.items():
        if 'run' in row:
            recipe, own = f'{label}_redkitchen', row['run']
            known = (_RECIPES / f'{recipe}.yaml').is_file()
            # A run of all frames has the recipe's name and more.
            words.append(f'out/train/{own if own.startswith(recipe) or not known else recipe}')
    return ' '.join(words)


def shown(figures: dict) -> tuple[str, dict]:
    """What a section of results shows.

    Args:
        figures: Of the whole benchmark, rows of `judged` among them or not.

    Returns:
        A table of those rows ('' without any), and the other figures, which are listed.
    """
    rows = {k: v for k, v in figures.items() if isinstance(v, dict) and 'stated_median_cm' in v}
    lines = []
    for name, row in rows.items():
        lines.append(_line(name, 'whole', row))
        lines += [_line(name, key, each) for key, each in row.items() if isinstance(each, dict)]
    head = ['who', 'frames', *_COLUMNS]
    top = ['| ' + ' | '.join(head) + ' |', '|---' * len(head) + '|']
    listed = {key: value for key, value in figures.items() if key not in rows}
    return '\n'.join([*top, *lines] if lines else []), listed


def _line(name: str, condition: str, row: dict) -> str:
    values = [row.get(column) for column in _COLUMNS]
    cells = ['-' if value is None else f'{value:.3g}' for value in values]
    return '| ' + ' | '.join([name, condition.replace('_', ' '), *cells]) + ' |'


def _found(run: Path, queries: Queries, *, retrieval: bool) -> dict[str, dict]:
    """Condition or reference -> figures of `training.evaluate_poses`."""
    with TemporaryDirectory() as name:
        report = Path(name) / 'figures.json'
        words = [str(run), '--data', str(queries.folder), '--split', 'test', '--json', str(report)]
        words += ['--retrieval'] if retrieval else []
        words += [] if queries.limit is None else ['--limit', str(queries.limit)]
        words += [] if queries.poses is None else ['--poses', str(queries.poses)]
        if evaluate(words):
            raise ConfigError(f'{run} could not be judged: expected a run of a pose network')
        (found,) = json.loads(report.read_text()).values()
    return found


def _label(run: Path) -> str:
    """The system; of those of one modality, depth is named."""
    header = read_header(weights_path(run))
    return header.system + ('_depth' if header.settings.get('modality') == 'depth' else '')


def _key(name: str) -> str:
    """A name without the dots that separate levels in tables."""
    return name.replace(' ', '_').replace('.', '_')


def _row(figures: dict[str, float | None]) -> dict[str, float | None]:
    """What tables show; a median over frames without an answer is infinite, here None."""
    values = dict(figures)
    for name in ('translation_median', 'stated_median'):
        metres = values.get(f'{name}_m')
        values[f'{name}_cm'] = None if metres is None else 100 * metres
    return {column: values.get(column) for column in _COLUMNS}
