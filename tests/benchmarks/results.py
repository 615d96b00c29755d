# SPDX-License-Identifier: Apache-2.0
"""Writes the figures of a benchmark: as JSON, and as a section of RESULTS.md."""

import json
import math
import os
from pathlib import Path
import re

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(__file__).with_name('RESULTS.md')
HEAD = (
    '# Measured figures\n\nEvery number here was written by the command named beside it, on the '
    'machine that ran it last.\n'
)


def rounded(value):
    """Figures with four significant digits; what JSON cannot say becomes None."""
    if isinstance(value, dict):
        return {str(key): rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    if isinstance(value, bool) or value is None or isinstance(value, str | int):
        return value
    value = float(value)
    return float(f'{value:.4g}') if math.isfinite(value) else None


def flat(figures, prefix=''):
    """Yields ('a.b', value) for nested dicts."""
    for key, value in figures.items():
        if isinstance(value, dict):
            yield from flat(value, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}', value


def write(
    name: str, figures: dict, command: str, text: str = '', listed: dict | None = None
) -> Path:
    """Stores the figures of benchmark `name`; the section of an earlier run is replaced.

    Args:
        name: Of the benchmark, e.g. 'husky'.
        figures: Nested dicts of numbers, strings or None; all of them go into the JSON.
        command: What a reader runs to get them again.
        text: Markdown that the section shows above its list, such as a table of rows.
        listed: The figures that the section lists; None for all.

    Returns:
        The JSON file, out/bench/<name>.json.
    """
    figures = rounded(figures)
    path = ROOT / 'out' / 'bench' / f'{name}.json'
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2) + '\n')
    lines = [f'## {name}', '', f'`{command}`', '']
    lines += [text.strip('\n'), ''] if text else []
    lines += ['| figure | value |', '|---|---|']
    listed = figures if listed is None else rounded(listed)
    lines += [f'| {key} | {value} |' for key, value in flat(listed)]
    section = '\n'.join(lines) + '\n'
    text = RESULTS.read_text() if RESULTS.exists() else HEAD
    pattern = re.compile(rf'^## {re.escape(name)}\n.*?(?=^## |\Z)', re.MULTILINE | re.DOTALL)
    if pattern.search(text):
        text = pattern.sub(lambda _: section + '\n', text)
    else:
        text = text.rstrip('\n') + '\n\n' + section
    temporary = RESULTS.with_suffix(f'.{os.getpid()}.tmp')
    temporary.write_text(text.rstrip('\n') + '\n')
    temporary.replace(RESULTS)
    return path


def stored(name: str) -> dict:
    """What `write` stored last of a benchmark; nothing if it has not run here."""
    path = ROOT / 'out' / 'bench' / f'{name}.json'
    return json.loads(path.read_text()) if path.is_file() else {}
