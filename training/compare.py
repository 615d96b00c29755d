# SPDX-License-Identifier: Apache-2.0
"""`python -m training.compare PLAN`: many systems, one budget, one table.

A plan names runs: what each trains, begun from which other run, and what it is evaluated on. The
command does what is not done yet, so that it can be stopped and begun again at any moment, and
rows of the committed tables come from nowhere else.
"""

import argparse
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
import json
import os
from pathlib import Path
import shlex
import subprocess
import sys
import threading

from geoloc_core.errors import ConfigError, GeolocError
from training.plan import merged, Plan, read_plan, Run

_EPILOG = """\
a plan (YAML):
  common: {...}          settings of all runs, as in config/train/*.yaml
  evaluations:           name -> arguments of python -m training.evaluate, without its --
    pm180: {protocol: pm180, split_name: unseen_city, data: unseen}
  runs:
    - name: hc_net               its folder; with _s<seed> behind it
      seeds: [0]
      settings: {...}            laid over common
      start_from: base           a run (of the same seed) with whose weights it begins, or
                                 part of the network -> run
      evaluate: [pm45]
      row: {name: hc_net}        or {ablation: mixstyle, variant: random}
      also:                      evaluation -> rows of ablations that it is in besides
        pm45: [{ablation: mixstyle, variant: random}]

data folders are given as NAME=DIR: --data train=DIR --data unseen=DIR; `train` is what is learned
from.

examples:
  python -m training.compare config/train/comparison.yaml --data train=world/train \\
      --data unseen=world/unseen
  python -m training.compare config/train/comparison.yaml --list
  python -m training.compare config/train/comparison.yaml --only hc_net --jobs 1 ...
"""


class Comparison:
    """Does the runs of a plan that are not done yet."""

    def __init__(
        self,
        plan: Plan,
        out: Path,
        data: Mapping[str, Path],
        results: Path,
        preset: str,
        jobs: int,
    ) -> None:
        """Takes a plan.

        Args:
            plan: What to do.
            out: Folder of all runs.
            data: Name -> folder of a data set; 'train' is what is learned from.
            results: Folder of the tables.
            preset: Conditions of the data, for the tables.
            jobs: Runs at a time; processors are shared out among them.

        Raises:
            ConfigError: A data set that the plan needs is not given.
        """
        self._plan, self._out, self._data = plan, out, dict(data)
        self._results, self._preset, self._jobs = results, preset, jobs
        self._threads = max(1, (os.cpu_count() or 1) // jobs)
        needed = {'train', *(str(e.get('data', 'train')) for e in plan.evaluations.values())}
        missing = sorted(needed - set(data))
        if missing:
            raise ConfigError(f'the plan needs the data {missing[0]!r}: --data {missing[0]}=DIR')

    def run(self, only: Sequence[str]) -> int:
        """Trains and evaluates; the number of runs that failed.

        Args:
            only: Names of runs, with or without their seeds; all if empty.

        Raises:
            ConfigError: No run has one of these names.
        """
        for name in only:
            if not any(_chosen(run, [name]) for run in self._plan.runs):
                known = dict.fromkeys(run.name.rsplit('_s', 1)[0] for run in self._plan.runs)
                raise ConfigError(f'--only {name}: no such run, but {", ".join(known)}')
        wanted = [r for r in self._plan.runs if not only or _chosen(r, only)]
        events = {r.name: threading.Event() for r in wanted}
        failed: list[str] = []

        def work(run: Run) -> None:
            try:
                for name in run.after:
                    if name in events:
                        events[name].wait()
                self._one(run)
            except (GeolocError, OSError, subprocess.CalledProcessError) as error:
                failed.append(run.name)
                print(f'{run.name}: {error}', file=sys.stderr, flush=True)
            finally:
                events[run.name].set()

        with ThreadPoolExecutor(self._jobs) as pool:
            list(pool.map(work, wanted))
        print(f'{len(wanted) - len(failed)} of {len(wanted)} runs done')
        return len(failed)

    def folder(self, run: Run) -> Path:
        """Where a run lies."""
        return self._out / run.name

    def _one(self, run: Run) -> None:
        from training.loop.reading import to_yaml

        folder = self.folder(run)
        if not _trained(folder):
            folder.mkdir(parents=True, exist_ok=True)
            # Kept beside the run's folder: the run writes its own resolved one inside.
            config = folder.with_suffix('.yaml')
            settings = json.loads(json.dumps(run.settings).replace('{out}', str(self._out)))
            settings = merged({'devices': {'threads': self._threads}}, settings)
            config.write_text(to_yaml(settings), encoding='utf-8')
            self._call(
                run, 'train', str(config), '--data', str(self._data['train']),
                '--out', str(folder), '--resume',
            )  # fmt: skip
        # Again for what was done before: the table may be another one.
        self._note(run)
        for name in run.evaluations:
            self._evaluate(run, name)
            for row in run.also.get(name, ()):
                self._add_to_ablation(run, name, row)

    def _evaluate(self, run: Run, name: str) -> None:
        out = self.folder(run) / 'evaluations' / name
        if (out / 'figures.json').is_file():
            return
        table = 'ablations.csv' if 'ablation' in run.row else 'cross_view.csv'
        arguments = {
            'seed': run.seed, 'preset': self._preset, 'out': out,
            'append': self._results / table, **self._plan.evaluations[name], **run.row,
        }  # fmt: skip
        arguments['data'] = self._data[str(arguments.get('data', 'train'))]
        words = [str(self.folder(run) / 'model.safetensors')]
        for key, value in arguments.items():
            for each in value if isinstance(value, list) else [value]:
                words += [f'--{key.replace("_", "-")}', str(each)]
        try:
            self._call(run, 'evaluate', *words)
        except GeolocError:
            # Its figures may be there and its row not: else it would count as done.
            (out / 'figures.json').unlink(missing_ok=True)
            raise

    def _add_to_ablation(self, run: Run, name: str, row: Mapping[str, str]) -> None:
        """The row of an evaluation once more, as what the variants of an ablation differ from."""
        from training.evaluation import tables

        said = json.loads(
            (self.folder(run) / 'evaluations' / name / 'figures.json').read_text(encoding='utf-8')
        )
        # Figures that are not finite stand as null there.
        figures = {k: float('nan') if v is None else v for k, v in said.pop('figures').items()}
        tables.replace_row(
            self._results / 'ablations.csv',
            tables.ABLATIONS,
            tables.ABLATION_KEY,
            {**said, **figures, **row},
        )

    def _call(self, run: Run, command: str, *words: str) -> None:
        """Runs a command in a process of its own; what it says goes into the run's folder."""
        log = self.folder(run) / f'{command}.out'
        line = [sys.executable, '-m', f'training.{command}', *words]
        threads = str(self._threads)
        with log.open('a', encoding='utf-8') as file:
            file.write(f'$ {shlex.join(line[1:])}\n')
            file.flush()
            print(f'{run.name}: {command}', flush=True)
            done = subprocess.run(
                line, stdout=file, stderr=subprocess.STDOUT, check=False,
                env={**os.environ, 'OMP_NUM_THREADS': threads},
            )  # fmt: skip
        if done.returncode:
            last = log.read_text(encoding='utf-8').strip().splitlines()[-1:]
            raise ConfigError(f'{command} failed ({log}): {"".join(last)}')

    def _note(self, run: Run) -> None:
        """The run's line in runs.csv."""
        from training.evaluation.runs import add_run, portable

        again = self._plan.again(run, {n: str(folder) for n, folder in self._data.items()})
        add_run(
            self._results / 'runs.csv',
            self.folder(run),
            portable('python -m training.compare', again),
        )


def _trained(folder: Path) -> bool:
    """Whether a run came to its end: the summary is the last that it writes."""
    return all((folder / name).is_file() for name in ('model.safetensors', 'summary.json'))


def _chosen(run: Run, only: Sequence[str]) -> bool:
    return any(run.name == name or run.name.rsplit('_s', 1)[0] == name for name in only)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog='python -m training.compare',
        description='Trains and evaluates all runs of a plan and fills the tables of '
        'training/results. What is done is not done again; a run that was stopped goes on.',
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument('plan', type=Path, metavar='PLAN', help='YAML')
    made.add_argument(
        '--data', action='append', default=[], metavar='NAME=DIR', help='a data set (repeat)'
    )
    made.add_argument(
        '--out', type=Path, default=Path('out/comparison'), help='folder of all runs'
    )
    made.add_argument(
        '--results', type=Path, default=Path('training/results'), help='folder of the tables'
    )
    made.add_argument('--preset', default='hard', help='conditions of the data (hard)')
    made.add_argument(
        '--only', nargs='+', default=[], metavar='RUN', help='with or without _s<seed>'
    )
    made.add_argument(
        '--jobs',
        type=int,
        default=1,
        help='runs at a time (1), '
        'each with its share of the processors: no second command beside this one',
    )
    made.add_argument('--list', action='store_true', help='show the runs and what is done of them')
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command; the exit code is 1 if a run failed."""
    args = parser().parse_args(arguments)
    try:
        plan = read_plan(args.plan)
        if args.list:
            for run in plan.runs:
                done = _trained(args.out / run.name)
                print(f'{"done" if done else "-":5s}{run.name:40s}{", ".join(run.evaluations)}')
            return 0
        data = {}
        for word in args.data:
            name, equals, folder = word.partition('=')
            if not equals:
                raise ConfigError(f'--data {word}: expected NAME=DIR, such as train=world/train')
            data[name] = Path(folder)
        if args.jobs < 1:
            raise ConfigError(f'--jobs {args.jobs}: expected 1 or more')
        comparison = Comparison(plan, args.out, data, args.results, args.preset, args.jobs)
        return 1 if comparison.run(args.only) else 0
    except (GeolocError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1


if __name__ == '__main__':
    sys.exit(main())
