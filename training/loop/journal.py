# SPDX-License-Identifier: Apache-2.0
"""What a run shows and leaves behind: log.txt, metrics.csv, TensorBoard, a bar with time left."""

from collections.abc import Mapping
import contextlib
import csv
from datetime import timedelta
import importlib.metadata
import io
import json
import os
from pathlib import Path
import platform
import subprocess
import sys
import time
from typing import Any

import torch
from tqdm import tqdm

from geoloc_core import __version__
from geoloc_core.whole_file import write_whole

# Without a terminal there is no bar; a line so often tells that it goes on.
_LINE_EVERY_S = 60.0
_PACKAGES = ('torch', 'lightning-fabric', 'numpy', 'safetensors', 'opencv-python-headless')


class Journal:
    """Everything that is written while a run goes on, by its first process; others are silent.

    Attributes:
        folder: Of the run.
    """

    def __init__(self, folder: Path, *, active: bool, step: int = 0, steps: int = 1) -> None:
        """Opens the files; what a killed run wrote after its last saved state is taken out.

        Args:
            folder: Of the run; it is made.
            active: Whether to write anything.
            step: Steps of the state that the run goes on from.
            steps: Of the whole run.
        """
        self.folder = folder
        self._active = active
        self._rows: list[dict[str, Any]] = []
        self._began, self._first_step, self._steps = time.monotonic(), step, steps
        self._spoke = self._began
        if not active:
            return
        folder.mkdir(parents=True, exist_ok=True)
        rows = read_rows(folder / 'metrics.csv')
        self._rows = [r for r in rows if r.get('step', '').isdigit() and int(r['step']) <= step]
        from torch.utils.tensorboard import SummaryWriter

        self._board = SummaryWriter(str(folder / 'tensorboard'), purge_step=step + 1)
        # None: a bar on a terminal only.
        self._bar = tqdm(
            total=steps,
            initial=step,
            unit='step',
            disable=None,
            dynamic_ncols=True,
            file=sys.stderr,
        )

    def say(self, text: str) -> None:
        """A line on the screen and in log.txt."""
        if not self._active:
            return
        tqdm.write(text, file=sys.stdout)
        sys.stdout.flush()
        self._log(text)

    def note(self, text: str) -> None:
        """A line in log.txt alone, if there is room for it."""
        if self._active:
            with contextlib.suppress(OSError):
                self._log(text)

    def _log(self, text: str) -> None:
        with (self.folder / 'log.txt').open('a', encoding='utf-8') as file:
            file.write(f'{time.strftime("%Y-%m-%d %H:%M:%S")} {text}\n')

    def tick(self, step: int, shown: Mapping[str, float] | None = None) -> None:
        """One more step is done.

        Args:
            step: Steps so far.
            shown: Running means, when they were just read.
        """
        if not self._active:
            return
        self._bar.update(1)
        if shown is None:
            return
        self._bar.set_postfix({k: f'{v:.4g}' for k, v in shown.items()}, refresh=False)
        now = time.monotonic()
        if self._bar.disable and now - self._spoke > _LINE_EVERY_S:
            self._spoke = now
            terms = '  '.join(f'{k} {v:.4g}' for k, v in shown.items())
            self.say(f'step {step}/{self._steps}  {terms}  {self.time_left(step)} left')

    def time_left(self, step: int) -> str:
        """Hours, minutes and seconds at the speed so far."""
        done = max(step - self._first_step, 1)
        seconds = (time.monotonic() - self._began) / done * (self._steps - step)
        return str(timedelta(seconds=round(seconds)))

    def scalars(self, group: str, values: Mapping[str, float], step: int) -> None:
        """Points of TensorBoard's curves."""
        if self._active:
            for name, value in values.items():
                self._board.add_scalar(f'{group}/{name}', value, step)

    def row(self, values: Mapping[str, Any]) -> None:
        """A line of metrics.csv; the file is whole at any time."""
        if not self._active:
            return
        self._rows.append(dict(values))
        columns = list(dict.fromkeys(name for row in self._rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator='\n')
        writer.writeheader()
        writer.writerows(self._rows)
        write_text(self.folder / 'metrics.csv', text.getvalue())
        self._board.flush()

    def close(self) -> None:
        """Ends the bar and TensorBoard's file."""
        if self._active:
            self._bar.close()
            self._board.close()


def read_rows(path: Path) -> list[dict[str, str]]:
    """Rows of a metrics.csv; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(encoding='utf-8', newline='') as file:
        return [{k: v for k, v in row.items() if v != ''} for row in csv.DictReader(file)]


def write_text(path: Path, text: str) -> None:
    """Writes a small file; a reader never sees half of it."""
    write_whole(path, text.encode())


def environment(device: torch.device) -> dict[str, Any]:
    """What a run ran on: versions, commit, machine, command."""
    versions = {}
    for name in _PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return {
        'geoloc': __version__,
        'commit': _git('rev-parse', 'HEAD'),
        'uncommitted_changes': bool(_git('status', '--porcelain', '--untracked-files=no')),
        'python': platform.python_version(),
        'versions': versions,
        'platform': platform.platform(),
        'cpus': os.cpu_count(),
        'threads': torch.get_num_threads(),
        'device': torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type,
        'command': sys.argv,
    }


def write_json(path: Path, values: Mapping[str, Any]) -> None:
    """Plain values as a small file."""
    write_text(path, json.dumps(values, indent=2) + '\n')


def _git(*words: str) -> str | None:
    """What git answers about this code, or None where there is no repository or no git."""
    try:
        done = subprocess.run(
            ['git', *words],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
