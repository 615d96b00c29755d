# SPDX-License-Identifier: Apache-2.0
"""A plan of many trainings: what each learns, begun from which other, and how it is judged.

`python -m training.compare --help` shows the form of the file.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geoloc_core.errors import ConfigError


@dataclass(frozen=True)
class Run:
    """One training of a plan.

    Attributes:
        name: Of its folder.
        seed: Of everything.
        settings: The whole training configuration.
        after: Names of the runs it begins with.
        evaluations: Names of `Plan.evaluations`.
        row: What its rows in the tables are called.
        also: Name of an evaluation -> ablations that it is in besides.
    """

    name: str
    seed: int
    settings: dict[str, Any]
    after: tuple[str, ...]
    evaluations: tuple[str, ...]
    row: dict[str, str]
    also: dict[str, list[dict[str, str]]]


@dataclass(frozen=True)
class Plan:
    """What a plan's file says.

    Attributes:
        runs: In their order, those that others begin with first.
        evaluations: Name -> arguments.
        path: Of the file.
    """

    runs: tuple[Run, ...]
    evaluations: dict[str, dict[str, Any]]
    path: Path

    def again(self, run: Run, data: Mapping[str, str]) -> list[str]:
        """Arguments of `python -m training.compare` that do one run, from nothing.

        Args:
            run: One of `runs`.
            data: Name -> folder, of every data set that the plan needs.
        """
        known = {each.name: each for each in self.runs}
        wanted = [run.name]
        for name in wanted:  # grows by what each begins with
            wanted += [n for n in known[name].after if n not in wanted]
        ordered = [name for name in known if name in wanted]
        folders = [word for n, folder in data.items() for word in ('--data', f'{n}={folder}')]
        return [str(self.path), *folders, '--only', *ordered]


def read_plan(path: Path) -> Plan:
    """Reads and checks a plan.

    Raises:
        ConfigError: It names the run and what is wrong with it.
    """
    from training.loop.reading import read_yaml

    data = read_yaml(path)
    unknown = sorted(set(data) - {'common', 'evaluations', 'runs'})
    if unknown:
        raise ConfigError(
            f'{path}: {unknown[0]!r} is no part of a plan: common, evaluations, runs'
        )
    evaluations = dict(data.get('evaluations') or {})
    for name, words in evaluations.items():
        if not isinstance(words, Mapping):
            raise ConfigError(f'{path}: evaluation {name!r}: expected a mapping, got {words!r}')
    runs: list[Run] = []
    for entry in data.get('runs') or ():
        for run in _runs(entry, data.get('common') or {}):
            where = f'{path}: run {run.name}'
            for name in run.evaluations:
                if name not in evaluations:
                    raise ConfigError(
                        f'{where}: no evaluation is called {name!r}, but {", ".join(evaluations)}'
                    )
            done = {other.name for other in runs}
            missing = [name for name in run.after if name not in done]
            if missing:
                raise ConfigError(f'{where} begins with {missing[0]}, which is no run before it')
            if run.name in done:
                raise ConfigError(f'{where} is named twice')
            runs.append(run)
    if not runs:
        raise ConfigError(f'{path}: a plan needs runs')
    return Plan(tuple(runs), evaluations, path)


_KEYS = ('name', 'seeds', 'settings', 'start_from', 'evaluate', 'row', 'also')


def _runs(entry: Mapping[str, Any], common: Mapping[str, Any]) -> list[Run]:
    if not isinstance(entry, Mapping) or set(entry) - set(_KEYS) or 'name' not in entry:
        raise ConfigError(f'run {entry}: expected a name, and of {", ".join(_KEYS)} what it needs')
    seeds = entry.get('seeds', [0])
    if not isinstance(seeds, list) or not seeds or any(type(seed) is not int for seed in seeds):
        raise ConfigError(
            f'run {entry["name"]}: seeds is {seeds!r}, expected a list of whole numbers'
        )
    made = []
    for seed in seeds:
        settings = merged(common, entry.get('settings') or {})
        settings['seed'] = seed
        after = entry.get('start_from') or {}
        parts = {'': after} if isinstance(after, str) else dict(after)
        # Of a run with as many seeds, the one with the same.
        names = {part: f'{name}_s{seed}' for part, name in parts.items()}
        if names:
            files = {part: f'{{out}}/{name}/model.safetensors' for part, name in names.items()}
            settings['start_from'] = files.get('') or files
        row = {str(k): str(v) for k, v in (entry.get('row') or {'name': entry['name']}).items()}
        evaluations, also = tuple(entry.get('evaluate') or ()), dict(entry.get('also') or {})
        for name, rows in also.items():
            keys = [set(each) for each in rows]
            if name not in evaluations or any(k != {'ablation', 'variant'} for k in keys):
                raise ConfigError(
                    f'run {entry["name"]}: also.{name} is {rows!r}, expected one of the '
                    "run's evaluations, and a list of {ablation: NAME, variant: NAME}"
                )
        made.append(
            Run(
                f'{entry["name"]}_s{seed}',
                seed,
                settings,
                tuple(names.values()),
                evaluations,
                row,
                also,
            )
        )
    return made


def merged(below: Any, above: Any) -> Any:
    """Nested mappings laid over each other; what is no mapping replaces what it lies on."""
    if not isinstance(below, Mapping) or not isinstance(above, Mapping):
        return above
    return {**below, **{key: merged(below.get(key), value) for key, value in above.items()}}
