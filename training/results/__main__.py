# SPDX-License-Identifier: Apache-2.0
"""Writes training/RESULTS.md from the tables in this folder, see --help."""

import argparse
from collections.abc import Sequence
from pathlib import Path
import sys

from geoloc_core.errors import GeolocError
from training.evaluation.results_page import add_times, RESULTS, write_results
from training.evaluation.runs import add_run

TEXT = """Makes training/RESULTS.md of the tables in training/results: cross_view.csv and
evaluations.csv (written by `python -m training.evaluate --append`), ablations.csv (the same with
--ablation and --variant), runs.csv (how each network was trained), times.csv and published.csv.

With --runs finished runs are put into runs.csv first: samples seen, time, machine, command.

With --times the times of one run of the benchmark of all systems are taken over first: into
times.csv, and into the column ms_cpu of every row of its system."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; errors of use are one line, exit code 1."""
    parser = argparse.ArgumentParser(
        prog='python -m training.results',
        description=TEXT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--tables', type=Path, default=RESULTS, metavar='DIR', help='(here)')
    parser.add_argument('--out', type=Path, metavar='FILE', help='(RESULTS.md beside the folder)')
    parser.add_argument(
        '--runs', type=Path, nargs='+', default=[], metavar='DIR', help='finished runs to add'
    )
    parser.add_argument(
        '--times', type=Path, metavar='JSON', help='what `make bench-systems` wrote'
    )
    args = parser.parse_args(arguments)
    try:
        for run in args.runs:
            add_run(args.tables / 'runs.csv', run)
        if args.times is not None:
            add_times(args.tables, args.times)
        print(write_results(args.tables, args.out or args.tables.parent / 'RESULTS.md'))
    except (GeolocError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
