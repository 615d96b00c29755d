# SPDX-License-Identifier: Apache-2.0
"""Curves of an evaluation as PNG files. matplotlib is imported when one is drawn."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from geoloc_core.evaluation.pose_figures import (
    ced_curve,
    CED_MAX_M,
    reject_curve,
    reliability_curve,
)
from training.scoring import Scores

# Okabe and Ito's colours: told apart by colour-blind eyes as well.
COLOURS = (
    '#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#444444', '#b0a000',
)  # fmt: skip
_GREY = '#9aa0a6'
# What a curve of rejection goes by: name -> doubt of each sample, larger = less sure.
DOUBTS: dict[str, Callable[[Scores], Any]] = {
    'covariance': lambda scores: scores.std_m,
    'density': lambda scores: -scores.log_density,
}


def new_axes(width: float = 7.0, height: float = 4.2) -> tuple[Any, Any]:
    """A figure with one pair of axes, apart from pyplot's global state."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout='constrained')
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.spines[['top', 'right']].set_visible(False)
    axes.grid(alpha=0.25)
    return figure, axes


def write_curves(folder: Path, systems: Mapping[str, Scores], dof: int) -> list[Path]:
    """Draws the curves of one or more networks over the same samples.

    Args:
        folder: Where ced.png, yaw_ced.png, reject.png and reliability.png go.
        systems: Name -> scores.
        dof: Of NEES, see `Scores.nees`.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn = {
        'ced': _ced(systems),
        'yaw_ced': _yaw_ced(systems),
        'reject': _reject(systems),
        'reliability': _reliability(systems, dof),
    }
    files = []
    for name, figure in drawn.items():
        files.append(folder / f'{name}.png')
        figure.savefig(files[-1], dpi=110)
    return files


def curve_columns(scores: Scores, dof: int) -> dict[str, dict[str, Sequence[float]]]:
    """The same curves as numbers: file name -> column -> values."""
    threshold, share = ced_curve(scores.distance)
    _, floor = ced_curve(scores.floor)
    ced = {'position_m': threshold, 'share': share, 'share_of_the_prior': floor}
    tables: dict[str, dict[str, Any]] = {'ced': ced}
    for name, doubt in DOUBTS.items():
        kept, mean, median = reject_curve(scores.distance, doubt(scores))
        tables[f'reject_by_{name}'] = {'kept': kept, 'mean_m': mean, 'median_m': median}
    nominal, observed = reliability_curve(scores.nees(dof), dof)
    tables['reliability'] = {'nominal': nominal, 'observed': observed}
    return tables


def _ced(systems: Mapping[str, Scores]) -> Any:
    figure, axes = new_axes()
    for colour, (name, scores) in zip(_colours(), systems.items(), strict=False):
        axes.plot(*ced_curve(scores.distance), color=colour, label=name)
    first = next(iter(systems.values()))
    axes.plot(*ced_curve(first.floor), color=_GREY, ls='--', label='the prior itself')
    axes.set(
        xlabel='position error, m', ylabel='share of samples', xlim=(0, CED_MAX_M), ylim=(0, 1.01)
    )
    axes.legend(frameon=False)
    return figure


def _yaw_ced(systems: Mapping[str, Scores]) -> Any:
    figure, axes = new_axes()
    longest = 1.0
    for colour, (name, scores) in zip(_colours(), systems.items(), strict=False):
        errors = np.degrees(np.abs(scores.yaw_error))
        longest = max(longest, float(np.percentile(errors, 98)))
        axes.plot(*ced_curve(errors, 180.0, 1801), color=colour, label=name)
    axes.set(
        xlabel='yaw error, degrees', ylabel='share of samples', xlim=(0, longest), ylim=(0, 1.01)
    )
    axes.legend(frameon=False)
    return figure


def _reject(systems: Mapping[str, Scores]) -> Any:
    figure, axes = new_axes()
    styles = dict(zip(DOUBTS, ('-', ':'), strict=True))
    for colour, (name, scores) in zip(_colours(), systems.items(), strict=False):
        for by, doubt in DOUBTS.items():
            kept, mean, _ = reject_curve(scores.distance, doubt(scores))
            axes.plot(kept, mean, styles[by], color=colour, label=f'{name}, by {by}')
        kept, mean, _ = reject_curve(scores.distance, scores.distance)
        axes.plot(kept, mean, color=colour, lw=0.7, alpha=0.5, ls='--', label='by the true error')
    axes.set(xlabel='share of samples kept', ylabel='mean position error of these, m')
    axes.set(xlim=(0, 1), ylim=(0, None))
    axes.legend(frameon=False, fontsize='small')
    return figure


def _reliability(systems: Mapping[str, Scores], dof: int) -> Any:
    figure, axes = new_axes(4.6, 4.6)
    axes.plot([0, 1], [0, 1], color=_GREY, lw=1, ls='--', label='honest')
    for colour, (name, scores) in zip(_colours(), systems.items(), strict=False):
        axes.plot(*reliability_curve(scores.nees(dof), dof), color=colour, label=name)
    axes.set(xlabel='ellipsoid should hold', ylabel='ellipsoid held', aspect='equal')
    axes.set(xlim=(0, 1), ylim=(0, 1.01))
    axes.legend(frameon=False)
    return figure


def _colours() -> list[str]:
    return list(COLOURS) * 4
