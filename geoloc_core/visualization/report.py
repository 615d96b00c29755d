# SPDX-License-Identifier: Apache-2.0
"""One self-contained HTML page about one evaluation, that opens offline.

Leaflet, styles, scripts, pictures and data are all inlined, and a content security policy forbids
the page to fetch anything. Text from bags and settings reaches it escaped, or as JSON that the
script writes with `textContent` only.
"""

import base64
from collections import Counter
from collections.abc import Mapping
from html import escape
import json
import math
from pathlib import Path
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from geoloc_core import __version__
from geoloc_core.types import Status
from geoloc_core.visualization.plots import calibration_curve, cumulative, errors_by_system
from geoloc_core.visualization.run_folder import read_run, RunFolder, SYSTEMS

ASSETS = Path(__file__).parent / 'assets'

MAX_MAP_PX = 2048
MAX_PICTURE_PX = 960
MAX_PICTURES = 80
MAX_TRACK_POINTS = 4000
MAX_CURVE_POINTS = 400
JPEG_QUALITY = 78

LABELS = {
    'position_median_m': 'position median, m',
    'position_p95_m': 'position p95, m',
    'yaw_median_deg': 'yaw median, °',
    'outage_position_median_m': 'position median in outage, m',
}
SYSTEM_LABELS = {'geoloc': 'geoloc', 'gnss': 'GNSS alone', 'odometry': 'odometry alone'}


def write_report(
    out: Path | str, target: Path | str | None = None, max_pictures: int = MAX_PICTURES
) -> Path:
    """Writes the report of an evaluation.

    Args:
        out: An evaluation's folder.
        target: File to write; `out/report.html` if None.
        max_pictures: At most this many frames are shown with pictures, spread over the run.

    Returns:
        The file written.

    Raises:
        ConfigError: The folder cannot be read.
    """
    run = read_run(out)
    target = Path(out) / 'report.html' if target is None else Path(target)
    parts = {
        'title': escape(_title(run)),
        'subtitle': escape(_subtitle(run)),
        'style': _css(ASSETS / 'leaflet' / 'leaflet.css') + _css(ASSETS / 'report.css'),
        'leaflet': _script(ASSETS / 'leaflet' / 'leaflet.js'),
        'script': _script(ASSETS / 'report.js'),
        'headline': _headline(run),
        'systems': _systems_table(run),
        'statuses': _status_table(run),
        'metrics': _definition_table(_flatten(_other_metrics(run.metrics))),
        'parameters': _definition_table(_flatten(run.parameters)) or '<p>not recorded</p>',
        'attribution': escape(run.attribution) or 'its map names nobody',
        'version': escape(__version__),
        'data': json_for_html(_payload(run, max_pictures)),
    }
    page = (ASSETS / 'report.html').read_text(encoding='utf-8')
    # One pass: text that was put in is never searched for places again.
    page = re.sub(r'\{\{(\w+)\}\}', lambda place: parts[place.group(1)], page)
    target.write_text(page, encoding='utf-8')
    return target


def json_for_html(content: Any) -> str:
    """JSON that cannot end the script element it stands in.

    Args:
        content: Plain Python values; floats must be finite or None.

    Returns:
        Text without '<', '>' and '&'.
    """
    text = json.dumps(content, separators=(',', ':'), allow_nan=False)
    for sign in '<>&':
        text = text.replace(sign, f'\\u{ord(sign):04x}')
    return text


def _title(run: RunFolder) -> str:
    name = run.metrics.get('title') or run.metrics.get('name') or run.path.resolve()
    # A bag's place on somebody's disk is nobody else's business.
    return Path(str(name)).name


def _subtitle(run: RunFolder) -> str:
    parts = [f'{len(run.stamps_ns)} frames', f'{run.time_s[-1]:.0f} s']
    truth = run.trajectories.get('truth')
    if truth is not None and len(truth.xy) > 1:
        parts.append(f'{np.linalg.norm(np.diff(truth.xy, axis=0), axis=1).sum():.0f} m driven')
    outage_s = sum(end - start for start, end in run.outages) / 1e9
    if outage_s:
        parts.append(f'{outage_s:.0f} s without GNSS')
    return ' · '.join(parts)


def _format(value: Any) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return '–'
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, float):
        return f'{value:.4g}'
    return escape(str(value))


def _headline(run: RunFolder) -> str:
    geoloc = run.metrics.get('systems', {}).get('geoloc', {})
    coverage = run.metrics.get('coverage_95')
    cards = [
        ('position, median', geoloc.get('position_median_m'), 'm'),
        ('in GNSS outage, median', geoloc.get('outage_position_median_m'), 'm'),
        ('yaw, median', geoloc.get('yaw_median_deg'), '°'),
        ('truth inside the 95 % ellipse', None if coverage is None else 100 * coverage, '%'),
        ('frames unaccounted for', run.metrics.get('frames_unaccounted'), ''),
    ]
    return ''.join(
        f'<div class="card"><b>{_format(value)}<small>{unit}</small></b><span>{label}</span></div>'
        for label, value, unit in cards
    )


def _systems_table(run: RunFolder) -> str:
    systems: Mapping[str, Any] = run.metrics.get('systems', {})
    names = [n for n in SYSTEMS if n in systems] + [n for n in systems if n not in SYSTEMS]
    keys = list(LABELS)
    for name in names:
        keys += [
            k
            for k, v in systems[name].items()
            if k not in keys and isinstance(v, (int, float)) and not isinstance(v, bool)
        ]
    keys = [key for key in keys if any(key in systems[name] for name in names)]
    main = [key for key in keys if key in LABELS]
    more = [key for key in keys if key not in LABELS]
    shown = _figures(systems, names, main)
    if not more:
        return shown
    return f'{shown}<details><summary>more</summary>{_figures(systems, names, more)}</details>'


def _figures(systems: Mapping[str, Any], names: list[str], keys: list[str]) -> str:
    """One table: a row a figure, a column a system."""
    head = ''.join(
        f'<th scope="col"><i class="dot {escape(name)}"></i>'
        f'{escape(SYSTEM_LABELS.get(name, name))}</th>'
        for name in names
    )
    rows = ''.join(
        f'<tr><th scope="row">{escape(LABELS.get(key, _words(key)))}</th>'
        + ''.join(
            f'<td data-system="{escape(name)}" data-key="{escape(key)}">'
            f'{_format(systems[name].get(key))}</td>'
            for name in names
        )
        + '</tr>'
        for key in keys
    )
    return f'<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _status_table(run: RunFolder) -> str:
    counts = Counter(run.text['status'])
    rows = ''.join(
        f'<tr class="{_kind(name)}"><th scope="row"><i class="mark"></i>{escape(name)}</th>'
        f'<td>{count}</td><td class="words">{escape(_sentence(name))}</td></tr>'
        for name, count in counts.most_common()
    )
    return f'<table class="statuses"><tbody>{rows}</tbody></table>'


def _other_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """What the tables above do not show already."""
    return {k: v for k, v in metrics.items() if k not in ('systems', 'parameters', 'outages_ns')}


def _definition_table(pairs: Mapping[str, Any]) -> str:
    rows = ''.join(
        f'<tr><th scope="row">{escape(key)}</th><td data-metric="{escape(key)}">'
        f'{_format(value)}</td></tr>'
        for key, value in pairs.items()
    )
    return f'<table class="pairs"><tbody>{rows}</tbody></table>' if rows else ''


def _flatten(content: Mapping[str, Any], prefix: str = '') -> dict[str, Any]:
    """Nested objects as dotted names."""
    flat: dict[str, Any] = {}
    for key, value in content.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f'{prefix}{key}.')
        else:
            flat[f'{prefix}{key}'] = value
    return flat


def _words(key: str) -> str:
    """A metric's name for people: 'recall_1m' -> 'recall 1m'."""
    return key.replace('_', ' ')


def _sentence(status: str) -> str:
    return Status[status].value if status in Status.__members__ else ''


def _kind(status: str) -> str:
    return {'OK': 'ok', 'DROPPED': 'dropped'}.get(status, 'refused')


def _css(path: Path) -> str:
    """A style sheet whose pictures, unused here, are left out."""
    return re.sub(r'url\([^)]*\)', 'none', path.read_text(encoding='utf-8'))


def _script(path: Path) -> str:
    """A script without the link to its source map."""
    text = path.read_text(encoding='utf-8')
    return re.sub(r'//# sourceMappingURL=.*', '', text).replace('</script', '<\\/script')


def _payload(run: RunFolder, max_pictures: int) -> dict[str, Any]:
    numbers = run.numbers
    half_axes, ellipse_yaw = _half_axes(run)
    names = sorted(set(run.text['status']))
    return {
        'statuses': [{'name': n, 'sentence': _sentence(n), 'kind': _kind(n)} for n in names],
        'frames': {
            't': _list(run.time_s),
            'stamp_ns': [str(stamp) for stamp in run.stamps_ns],
            'status': [names.index(name) for name in run.text['status']],
            'reasons': run.text['reasons'],
            'x': _list(numbers['x']),
            'y': _list(numbers['y']),
            'yaw': _list(numbers['yaw'], 4),
            'truth_x': _list(numbers['truth_x']),
            'truth_y': _list(numbers['truth_y']),
            'error': _list(numbers['error_m']),
            'yaw_error': _list(numbers['yaw_error_deg']),
            'std': _list(run.major_std),
            'std_yaw': _list(np.degrees(numbers['std_yaw'])),
            'latency': _list(numbers['latency_ms'], 1),
            'major': _list(half_axes[:, 0]),
            'minor': _list(half_axes[:, 1]),
            'tilt': _list(ellipse_yaw, 4),
        },
        'tracks': {
            name: [_list(point) for point in _thin(track.xy, MAX_TRACK_POINTS)]
            for name, track in run.trajectories.items()
        },
        'errors': {
            name: {'t': _list(_thin(t, MAX_TRACK_POINTS)), 'e': _list(_thin(e, MAX_TRACK_POINTS))}
            for name, (t, e) in errors_by_system(run).items()
        },
        'cumulative': {name: _cumulative(e) for name, (_, e) in errors_by_system(run).items()},
        'calibration': [_list(side) for side in calibration_curve(run.mahalanobis_squared)],
        'outages': [_list(run.seconds(outage)) for outage in run.outages],
        'pictures': _embed_pictures(run, max_pictures),
        'map': _embed_map(run),
    }


def _half_axes(run: RunFolder) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Half axes (N, 2) of one standard deviation, longer first, and the longer one's yaw (N,)."""
    xx, xy, yy = (run.numbers[name] for name in ('cov_xx', 'cov_xy', 'cov_yy'))
    middle, away = 0.5 * (xx + yy), np.hypot(0.5 * (xx - yy), xy)
    values = np.stack([middle + away, np.maximum(middle - away, 0.0)], axis=1)
    return np.sqrt(values), 0.5 * np.arctan2(2.0 * xy, xx - yy)


def _cumulative(errors: NDArray[np.float64]) -> list[list[float | None]]:
    values, fraction = cumulative(errors)
    return [_list(_thin(values, MAX_CURVE_POINTS)), _list(_thin(fraction, MAX_CURVE_POINTS), 4)]


def _thin(values: NDArray[np.float64], most: int) -> NDArray[np.float64]:
    """At most `most` rows, evenly spread, both ends kept."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).round().astype(int)]


def _list(values: Any, digits: int = 3) -> list[float | None]:
    """Rounded floats; None where not finite, as JSON knows no NaN."""
    return [round(float(v), digits) if math.isfinite(v) else None for v in values]


def _embed_pictures(run: RunFolder, most: int) -> dict[str, dict[str, str]]:
    rows = np.array([row for row in sorted(run.pictures) if row < len(run.stamps_ns)], dtype=int)
    chosen: dict[str, dict[str, str]] = {}
    for row in _thin(rows, most):
        # A match picture holds the view already; a damaged one is left out.
        for kind in ('match', 'view'):
            file = run.pictures[int(row)].get(kind)
            uri = _data_uri(file, MAX_PICTURE_PX) if file else ''
            if uri:
                chosen[str(row)] = {kind: uri}
                break
    return chosen


def _embed_map(run: RunFolder) -> dict[str, Any] | None:
    if run.map_image is None or run.map_bounds is None:
        return None
    uri = _data_uri(run.map_image, MAX_MAP_PX)
    return {'image': uri, 'bounds': list(run.map_bounds)} if uri else None


def _data_uri(path: Path, max_px: int) -> str:
    """A picture as a JPEG data URI, shrunk to `max_px` on its longer side; '' if unreadable."""
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        return ''
    scale = max_px / max(image.shape[:2])
    if scale < 1.0:
        size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    _, coded = cv2.imencode('.jpg', image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return 'data:image/jpeg;base64,' + base64.b64encode(coded.tobytes()).decode('ascii')
