# SPDX-License-Identifier: Apache-2.0
"""Plots of one evaluation, as PNG or SVG files. matplotlib is imported when one is drawn."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoloc_core.visualization.overlay import ellipse
from geoloc_core.visualization.run_folder import (
    OUTAGE_GAP_RATIO,
    read_run,
    RunFolder,
    SYSTEMS,
)

Array = NDArray[np.float64]

# Okabe and Ito's colours: told apart by colour-blind eyes as well.
COLOURS = {'geoloc': '#0072b2', 'gnss': '#e69f00', 'odometry': '#cc79a7', 'truth': '#222222'}
OUTAGE = '#9aa0a6'
MAX_ELLIPSES = 60


def write_plots(
    out: Path | str, run: RunFolder | None = None, formats: Iterable[str] = ('png',)
) -> list[Path]:
    """Draws every plot that the run has data for into `out/plots`.

    Args:
        out: An evaluation's folder.
        run: Its content if already read.
        formats: File endings that matplotlib knows, e.g. 'png' and 'svg'.

    Returns:
        The files written.

    Raises:
        ConfigError: The folder cannot be read.
        ImportError: matplotlib is not installed (the `viz` extra).
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    run = run or read_run(out)
    folder = Path(out) / 'plots'
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, draw in PLOTS.items():
        # A Figure with its own canvas leaves pyplot's global state and backend alone.
        figure = Figure(figsize=(9.0, 4.5), layout='constrained')
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        axes.spines[['top', 'right']].set_visible(False)
        axes.grid(alpha=0.25)
        if not draw(axes, run):
            continue
        for ending in formats:
            written.append(folder / f'{name}.{ending}')
            figure.savefig(written[-1], dpi=120)
    return written


def calibration_curve(mahalanobis_squared: Array) -> tuple[Array, Array]:
    """How often the truth lies inside the ellipse that should hold it with probability p.

    Args:
        mahalanobis_squared: (N,) squared normalised errors of 2-D positions; NaN is left out.

    Returns:
        Nominal probabilities (101,) and the observed fractions (101,); NaN without samples.
    """
    nominal = np.linspace(0.0, 1.0, 101)
    values = np.sort(mahalanobis_squared[np.isfinite(mahalanobis_squared)])
    if not len(values):
        return nominal, np.full(101, np.nan)
    with np.errstate(divide='ignore'):
        radius_squared = -2.0 * np.log1p(-nominal)
    return nominal, np.searchsorted(values, radius_squared, side='right') / len(values)


def cumulative(values: Array) -> tuple[Array, Array]:
    """Sorted finite values (M,) and the fraction (M,) that is at most as large."""
    ordered = np.sort(values[np.isfinite(values)])
    return ordered, np.arange(1, len(ordered) + 1) / max(len(ordered), 1)


def errors_by_system(run: RunFolder) -> dict[str, tuple[Array, Array]]:
    """Position error in m over time in s of each system that left a track.

    geoloc's come from its frames; the others' by comparing their track with the truth.
    """
    series = {'geoloc': (run.time_s, run.numbers['error_m'])}
    truth = run.trajectories.get('truth')
    for name in SYSTEMS[1:]:
        if truth is not None and name in run.trajectories:
            track = run.trajectories[name]
            series[name] = _broken_at_gaps(
                run.seconds(track.stamps_ns), track.error_against(truth)
            )
    return series


def _broken_at_gaps(time: Array, error: Array) -> tuple[Array, Array]:
    """Puts a NaN into each long gap, so that no line is drawn where nothing was known."""
    if len(time) < 2:
        return time, error
    steps = np.diff(time)
    gaps = np.flatnonzero(steps > OUTAGE_GAP_RATIO * max(float(np.median(steps)), 1e-9))
    return np.insert(time, gaps + 1, time[gaps]), np.insert(error, gaps + 1, np.nan)


def _shade_outages(axes: Any, run: RunFolder) -> None:
    for i, (start, end) in enumerate(run.outages):
        label = 'no GNSS' if i == 0 else None
        axes.axvspan(*run.seconds([start, end]), color=OUTAGE, alpha=0.22, lw=0, label=label)


def _plot_error(axes: Any, run: RunFolder) -> bool:
    time, error = run.time_s, run.numbers['error_m']
    _shade_outages(axes, run)
    for times in (3, 2, 1):
        axes.fill_between(
            time,
            0,
            times * run.major_std,
            color=COLOURS['geoloc'],
            alpha=0.10,
            lw=0,
            label='1, 2, 3 σ (longer axis)' if times == 1 else None,
        )
    for name, (at, values) in errors_by_system(run).items():
        main = name == 'geoloc'
        axes.plot(
            at,
            values,
            color=COLOURS[name],
            lw=1.6 if main else 0.9,
            label=name,
            zorder=3 if main else 2,
        )
    shown = np.concatenate([error, 3 * run.major_std])
    shown = shown[np.isfinite(shown)]
    if len(shown):
        # A drifting reference may leave the picture; geoloc and its bands may not.
        axes.set_ylim(0, 1.1 * float(shown.max()) or 1.0)
    axes.set(xlabel='time, s', ylabel='position error, m', xlim=(time[0], time[-1] or 1.0))
    axes.legend(frameon=False, ncols=3, fontsize='small')
    return True


def _plot_trajectories(axes: Any, run: RunFolder) -> bool:
    if not run.trajectories:
        return False
    if run.map_image is not None and run.map_bounds is not None:
        import cv2

        image = cv2.imread(str(run.map_image))
        if image is not None:
            west, south, east, north = run.map_bounds
            axes.imshow(image[..., ::-1], extent=(west, east, south, north), alpha=0.75)
    for name in ('truth', *reversed(SYSTEMS)):
        if name in run.trajectories:
            xy = run.trajectories[name].xy
            style = '.' if name == 'gnss' else '-'
            axes.plot(xy[:, 0], xy[:, 1], style, color=COLOURS[name], lw=1.4, ms=4, label=name)
    usable = np.flatnonzero(np.isfinite(run.cov_xy).all(axis=(1, 2)))
    for i in usable[:: max(1, len(usable) // MAX_ELLIPSES)]:
        centre = np.array([run.numbers['x'][i], run.numbers['y'][i]])
        axes.fill(*ellipse(centre, run.cov_xy[i]).T, fc=COLOURS['geoloc'], alpha=0.15)
    axes.set(xlabel='east, m', ylabel='north, m', aspect='equal')
    axes.grid(False)
    axes.legend(frameon=True, fontsize='small')
    return True


def _plot_ced(axes: Any, run: RunFolder) -> bool:
    drawn = False
    for name, (_, values) in errors_by_system(run).items():
        error, fraction = cumulative(values)
        if len(error):
            axes.step(error, fraction, where='post', color=COLOURS[name], label=name)
            drawn = True
    axes.set(
        xlabel='position error, m', ylabel='fraction of frames', ylim=(0, 1.01), xlim=(0, None)
    )
    axes.legend(frameon=False)
    return drawn


def _plot_yaw(axes: Any, run: RunFolder) -> bool:
    error = run.numbers['yaw_error_deg']
    if not np.isfinite(error).any():
        return False
    _shade_outages(axes, run)
    std = np.degrees(run.numbers['std_yaw'])
    for times in (3, 2, 1):
        axes.fill_between(
            run.time_s,
            -times * std,
            times * std,
            color=COLOURS['geoloc'],
            alpha=0.10,
            lw=0,
            label='1, 2, 3 σ' if times == 1 else None,
        )
    axes.plot(run.time_s, error, color=COLOURS['geoloc'], lw=1.2)
    axes.set(xlabel='time, s', ylabel='yaw error, degrees')
    axes.legend(frameon=False)
    return True


def _plot_calibration(axes: Any, run: RunFolder) -> bool:
    nominal, observed = calibration_curve(run.mahalanobis_squared)
    if not np.isfinite(observed).any():
        return False
    axes.plot([0, 1], [0, 1], color=OUTAGE, lw=1, ls='--', label='honest')
    axes.plot(nominal, observed, color=COLOURS['geoloc'], label='geoloc')
    axes.set(
        xlabel='ellipse should hold',
        ylabel='ellipse held',
        aspect='equal',
        xlim=(0, 1),
        ylim=(0, 1.01),
    )
    axes.legend(frameon=False)
    return True


def _plot_latency(axes: Any, run: RunFolder) -> bool:
    latency = run.numbers['latency_ms']
    latency = latency[np.isfinite(latency)]
    if not len(latency):
        return False
    axes.hist(latency, bins=40, color=COLOURS['geoloc'], alpha=0.8)
    for percent in (50, 99):
        value = float(np.percentile(latency, percent))
        axes.axvline(value, color='#444444', lw=1, ls='--')
        axes.annotate(
            f' p{percent} {value:.1f} ms',
            (value, 0.97),
            va='top',
            xycoords=('data', 'axes fraction'),
        )
    axes.set(xlabel='latency, ms', ylabel='frames')
    return True


PLOTS: dict[str, Callable[[Any, RunFolder], bool]] = {
    'error_over_time': _plot_error,
    'trajectories': _plot_trajectories,
    'cumulative_error': _plot_ced,
    'yaw_error': _plot_yaw,
    'coverage_calibration': _plot_calibration,
    'latency': _plot_latency,
}
