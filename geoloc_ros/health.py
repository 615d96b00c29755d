# SPDX-License-Identifier: Apache-2.0
"""The node's state as diagnostic messages: localization, inputs, processing, transforms, map."""

from typing import Any, TYPE_CHECKING

from diagnostic_msgs.msg import DiagnosticStatus
import numpy as np

from geoloc_core.geometry.cameras import camera_kind
from geoloc_core.types import PoseEstimate, Status
from geoloc_ros.diagnostics import ellipse_axes_m
from geoloc_ros.messages import diagnostic_status, ERROR, OK, WARN

if TYPE_CHECKING:
    from geoloc_ros.session import Session


def health(
    session: 'Session', estimate: PoseEstimate | None, other_authorities: int
) -> list[DiagnosticStatus]:
    """Everything worth knowing about a configured node.

    Args:
        session: Whose health it is.
        estimate: The newest estimate, or None before the first sample.
        other_authorities: How often somebody else was seen publishing map -> odom.
    """
    return [
        _localization(session, estimate),
        *_inputs(session),
        *_camera(session),
        *_depth(session),
        _processing(session),
        _transforms(session, other_authorities),
        *_engines(session),
        *_maps(session),
    ]


def _localization(session: 'Session', estimate: PoseEstimate | None) -> DiagnosticStatus:
    values: dict[str, Any] = dict(session.localizer.counters)
    if estimate is None:
        return diagnostic_status('geoloc: localization', WARN, 'no sample received yet', values)
    values['status'] = estimate.status.name
    if estimate.cov is not None:
        major, minor = ellipse_axes_m(estimate.cov)
        std_yaw = float(np.sqrt(max(float(np.asarray(estimate.cov)[5, 5]), 0.0)))
        values |= {
            'ellipse_major_m': major,
            'ellipse_minor_m': minor,
            'std_yaw_deg': float(np.degrees(std_yaw)),
        }
    text = '; '.join((estimate.status.value, *estimate.reasons))
    level = {Status.OK: OK, Status.LOST: ERROR}.get(estimate.status, WARN)
    return diagnostic_status('geoloc: localization', level, text, values)


def _inputs(session: 'Session') -> list[DiagnosticStatus]:
    statuses = []
    for topic, monitor in session.monitors.items():
        complaint = monitor.complaint()
        if not complaint and not monitor.received:
            continue
        level = WARN if complaint else OK
        statuses.append(
            diagnostic_status(
                f'geoloc: input {topic}', level, complaint or 'received', monitor.values()
            )
        )
    return statuses


def _camera(session: 'Session') -> list[DiagnosticStatus]:
    """Whether the camera is one that the source can match views of."""
    if session.camera is None:
        return []
    values: dict[str, Any] = {
        'kind': camera_kind(session.camera),
        'width': session.camera.width,
        'height': session.camera.height,
    }
    refusal = session.camera_refusal
    level = ERROR if refusal else OK
    return [diagnostic_status('geoloc: camera', level, refusal or 'can be matched', values)]


def _depth(session: 'Session') -> list[DiagnosticStatus]:
    """Whether images are worked on with depth or alone, and why."""
    depth = session.depth
    if depth is None:
        return []
    values: dict[str, Any] = {f'images_{name}': n for name, n in sorted(depth.counts.items())}
    last = depth.last
    if last is None:
        return [diagnostic_status('geoloc: depth', OK, 'no image has asked for it yet', values)]
    if last.depth is None:
        return [diagnostic_status('geoloc: depth', WARN, f'colour alone: {last.note}', values)]
    values['coverage'] = last.coverage
    return [diagnostic_status('geoloc: depth', OK, 'used', values)]


def _processing(session: 'Session') -> DiagnosticStatus:
    counts = dict(session.frame_counts)
    failed = sum(counts.get(name, 0) for name in ('INTERNAL_ERROR', 'samples_failed'))
    values = {f'frames_{name}': n for name, n in sorted(counts.items())}
    values |= session.durations.values()
    if failed:
        text = f'{failed} internal errors, see the log'
        return diagnostic_status('geoloc: processing', ERROR, text, values)
    return diagnostic_status('geoloc: processing', OK, 'running', values)


def _engines(session: 'Session') -> list[DiagnosticStatus]:
    """What runs each network, and why."""
    statuses = []
    engines = session.localizer.engines
    for engine in engines:
        report = engine.report()
        level = WARN if report.degraded else OK
        values = {'network': engine.system, 'running': report.running, **report.values}
        # Of two statuses of one name, whoever collects diagnostics keeps the last.
        name = 'geoloc: engine' if len(engines) == 1 else f'geoloc: engine {engine.system}'
        statuses.append(diagnostic_status(name, level, str(report), values))
    return statuses


def _transforms(session: 'Session', other_authorities: int) -> DiagnosticStatus:
    values = {'tf': session.outputs.tf_state, 'foreign_map_to_odom': other_authorities}
    if other_authorities:
        text = 'somebody else publishes map -> odom too'
        return diagnostic_status('geoloc: transforms', WARN, text, values)
    return diagnostic_status('geoloc: transforms', OK, session.outputs.tf_state, values)


def _maps(session: 'Session') -> list[DiagnosticStatus]:
    if session.place is None:
        return [_map(session)]
    place = session.place.localizer.place
    values: dict[str, Any] = {
        'name': place.name,
        'keyframes': len(place.keyframes),
        'features': place.features,
        'frame': 'its own' if place.anchor is None else 'the Earth',
    }
    found = [diagnostic_status('geoloc: place map', OK, 'open', values)]
    return [*found, _map(session)] if session.map_source is not None else found


def _map(session: 'Session') -> DiagnosticStatus:
    if session.map_source is None:
        return diagnostic_status('geoloc: map', WARN, 'map.path is not set', {})
    info = session.map_source.info
    values = {'path': info.name, 'kind': info.kind, 'crs': info.crs, 'gsd_m': float(info.gsd)}
    frame = session.localizer.frame
    if frame is not None:
        datum = frame.datum
        values['datum'] = f'{datum.lat_deg:.9f} {datum.lon_deg:.9f} {datum.alt_m:.3f}'
    problems = session.map_source.problems()
    values |= {f'problem_{i}': text for i, text in enumerate(problems)}
    report = session.last_report
    if report is not None and report.status == Status.NO_MAP.name:
        return diagnostic_status('geoloc: map', WARN, '; '.join(report.reasons), values)
    # A hole somewhere is no alarm as long as the robot finds map where it stands.
    return diagnostic_status('geoloc: map', OK, '; '.join(('open', *problems[:1])), values)
