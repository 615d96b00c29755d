# SPDX-License-Identifier: Apache-2.0
"""How a network was trained, as a row of runs.csv, from what its run left behind."""

from collections.abc import Sequence
import json
from pathlib import Path
import shlex
from typing import Any

import yaml

from geoloc_core.errors import DataError
from training.evaluation.tables import replace_row, RUNS, RUNS_KEY


def add_run(table: Path, folder: Path, command: str = '') -> dict[str, Any]:
    """Puts a finished run into the table, in place of its own older row.

    Args:
        table: runs.csv.
        folder: Of the run: summary.json, environment.json and config.yaml.
        command: That does the run again; empty for the one that did it.

    Returns:
        The row.

    Raises:
        DataError: The run is not finished, or its files are damaged.
    """
    try:
        summary = json.loads((folder / 'summary.json').read_text(encoding='utf-8'))
        machine = json.loads((folder / 'environment.json').read_text(encoding='utf-8'))
        config = yaml.safe_load((folder / 'config.yaml').read_text(encoding='utf-8'))
        row = {
            'run': folder.resolve().name,
            'system': config['system']['name'],
            'seed': config['seed'],
            'samples_seen': int(summary['samples_seen']),
            'minutes': float(summary['seconds']) / 60,
            'machine': _words(machine),
            'command': command or portable('python -m training.train', machine['command'][1:]),
        }
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise DataError(
            f'{folder}: no finished run of `python -m training.train` ({error!r})'
        ) from error
    replace_row(table, RUNS, RUNS_KEY, row)
    return row


def portable(program: str, words: Sequence[str]) -> str:
    """A command as others can repeat it.

    Args:
        program: As it is called.
        words: Its arguments. Of a path outside of this folder, alone or behind `NAME=`, the last
            two parts are kept: they say which run's weights and which data, and nothing of this
            machine.
    """
    return ' '.join([program, *(shlex.quote(_shown(word)) for word in words)])


def _shown(word: str) -> str:
    name, equals, value = word.rpartition('=')
    path, here = Path(value), Path.cwd()
    if not path.is_absolute():
        return word
    kept = path.relative_to(here) if path.is_relative_to(here) else Path(*path.parts[1:][-2:])
    return f'{name}{equals}{kept}'


def _words(machine: dict[str, Any]) -> str:
    device = str(machine['device'])
    threads = f'{machine["threads"]} of {machine["cpus"]} CPU threads'
    return threads if device == 'cpu' else f'{device}, {machine["cpus"]} CPUs'
