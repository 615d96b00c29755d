# SPDX-License-Identifier: Apache-2.0
import dataclasses
import json
import math

import numpy as np
import pytest

from geoloc_core.bags.reader import read_bag
from geoloc_core.bags.topics import TopicChoice
from geoloc_core.evaluation.trajectory import Trajectory
from geoloc_core.evaluation.tum import read_tum, write_tum
from geoloc_core.geometry import se3
from geoloc_core.geometry.geodesy import Datum, EnuFrame
from geoloc_core.types import PoseEstimate, PoseMeasurement, Status
from geoloc_ros.bags.results import COLUMNS, write_results
from geoloc_ros.bags.run import FrameRecord, read_inputs, RunRecord
from geoloc_ros.bags.scoring import frame_to_frame, score
from tests.bags.conftest import DATUM, START, write_drive

HALF = 500_000_000


def run_with_errors(inputs, lateral=0.0, ahead=0.0, std=0.5, datum=DATUM, skip=()):
    T_new_old = frame_to_frame(datum, DATUM)
    frames, track = [], []
    for i, stamp in enumerate(inputs.frame_stamps_ns):
        if i in skip:
            continue
        T = T_new_old @ inputs.truth.at([stamp])[0][0] @ se3.from_planar(ahead, lateral, 0.0)
        pose = np.array(se3.planar(T))
        frames.append(FrameRecord(int(stamp), 'OK', (), pose, np.diag([std**2] * 2 + [0.01]), 7.0))
        track.append((int(stamp), T))
    return RunRecord(
        tuple(frames), datum, Trajectory.of(track), {'map.path': ''}, {'mode': 'test'}
    )


@pytest.fixture
def inputs(drive_bag):
    with read_bag(drive_bag) as bag:
        return read_inputs(bag)


def test_inputs_know_the_lever_arm(inputs):
    assert len(inputs.frame_stamps_ns) == 7
    assert inputs.fixes[0].antenna_in_base == pytest.approx((0.3, -0.2, 1.5))
    assert len(inputs.odometry) == 31


def test_errors_land_on_their_axis_and_their_frame(inputs):
    m = score(run_with_errors(inputs, lateral=0.3, ahead=-0.4), inputs).metrics
    geoloc = m['systems']['geoloc']
    assert geoloc['position_median_m'] == pytest.approx(0.5)
    assert geoloc['lateral_median_m'] == pytest.approx(0.3)
    assert geoloc['longitudinal_median_m'] == pytest.approx(0.4)
    assert geoloc['yaw_median_deg'] == pytest.approx(0.0, abs=1e-6)
    assert geoloc['rpe_1s_median_m'] == pytest.approx(0.0, abs=1e-6)
    rows = score(run_with_errors(inputs, lateral=0.3, ahead=-0.4), inputs).rows
    assert rows[3]['lateral_m'] == pytest.approx(0.3)
    assert rows[3]['longitudinal_m'] == pytest.approx(-0.4)
    assert m['frames'] == m['localized'] == 7
    assert m['frames_unaccounted'] == 0
    assert m['latency_ms']['median'] == 7.0


def test_another_datum_changes_nothing(inputs):
    elsewhere = Datum(49.01, 8.42, 140.0)
    m = score(run_with_errors(inputs, lateral=0.3, datum=elsewhere), inputs).metrics
    assert m['systems']['geoloc']['position_median_m'] == pytest.approx(0.3, abs=1e-3)
    assert m['systems']['geoloc']['yaw_median_deg'] == pytest.approx(0.0, abs=1e-3)
    assert m['systems']['gnss']['position_median_m'] < 0.02
    T = frame_to_frame(elsewhere, DATUM)
    place = EnuFrame(elsewhere).enu_from_geodetic(DATUM.lat_deg, DATUM.lon_deg, DATUM.alt_m)
    np.testing.assert_allclose(T[:3, 3], place, atol=1e-6)
    np.testing.assert_allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-9)


def test_gnss_is_judged_at_its_antenna_and_holds_during_outages(tmp_path):
    with read_bag(write_drive(tmp_path / 'cut', cut=[(0.5, 2.7)])) as bag:
        inputs = read_inputs(bag)
    m = score(run_with_errors(inputs), inputs).metrics
    gnss = m['systems']['gnss']
    assert len(m['outages_ns']) == 1
    start, end = (t - START for t in m['outages_ns'][0])
    assert (start, end) == pytest.approx((4e8, 28e8))
    assert gnss['outside_position_median_m'] < 0.02
    assert gnss['outage_position_median_m'] > 3.0
    # Frames at 0.5, 1.0 ... 2.5 s, the fix of 0.4 s held at 4 m/s.
    assert gnss['outage_position_median_m'] == pytest.approx(4 * 1.1, abs=0.1)
    odometry = m['systems']['odometry']
    assert odometry['position_median_m'] < 1e-6
    assert odometry['yaw_median_deg'] < 1e-4
    assert m['systems']['geoloc']['outage_position_median_m'] < 1e-6


def test_every_frame_is_accounted_for(inputs):
    run = run_with_errors(inputs, skip=(2, 5))
    refused = FrameRecord(int(inputs.frame_stamps_ns[2]), 'NO_MAP', ('nothing there',))
    m = score(RunRecord((*run.frames, refused), run.datum, run.estimates), inputs).metrics
    assert m['frames'] == 7
    assert m['frames_unaccounted'] == 1
    assert m['rejected'] == {'NO_MAP': 1}
    assert m['localized'] == 5
    assert m['systems']['geoloc']['recall_1m'] == pytest.approx(5 / 7)


def test_large_errors_are_flagged_by_an_honest_covariance_only(inputs):
    vain = score(run_with_errors(inputs, lateral=2.0, std=0.1), inputs).metrics
    honest = score(run_with_errors(inputs, lateral=2.0, std=1.5), inputs).metrics
    assert (vain['frames_over_1m'], vain['frames_over_1m_unflagged']) == (7, 7)
    assert (honest['frames_over_1m'], honest['frames_over_1m_unflagged']) == (7, 0)
    assert vain['coverage_95'] == 0.0
    assert honest['coverage_95'] == 1.0


def test_without_truth_there_are_counts_only(tmp_path):
    with read_bag(write_drive(tmp_path / 'blind', truth=False)) as bag:
        inputs = read_inputs(bag)
    frames = tuple(FrameRecord(int(s), 'NO_YAW', ('drive on',)) for s in inputs.frame_stamps_ns)
    scored = score(RunRecord(frames, None, Trajectory.of([])), inputs)
    assert scored.metrics['systems'] == {}
    assert scored.metrics['frames_by_status'] == {'NO_YAW': 7}
    written = write_results(tmp_path / 'out', scored, report=False)
    assert json.loads(written.read_text())['frames'] == 7


def test_the_folder_holds_what_the_report_reads(inputs, tmp_path):
    run_folder = pytest.importorskip('geoloc_core.visualization.run_folder')
    scored = score(run_with_errors(inputs, lateral=0.3), inputs, name='tiny')
    write_results(tmp_path, scored, report=False)
    header = (tmp_path / 'frames.csv').read_text().splitlines()[0]
    assert header == ','.join(COLUMNS)
    run = run_folder.read_run(tmp_path)
    np.testing.assert_allclose(run.numbers['error_m'], 0.3, atol=1e-9)
    assert set(run.trajectories) == {'truth', 'geoloc', 'gnss', 'odometry'}
    assert run.metrics['name'] == 'tiny'


def test_record_of_an_answer():
    measured = PoseMeasurement(
        5,
        Status.GATED,
        ('2 m off',),
        likelihood_mean=np.array([1.0, 2.0, 0.5]),
        timings_ms={'patch_ms': 3.0},
    )
    cov = np.diag([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    answer = PoseEstimate(
        5, Status.OK, (), se3.from_planar(1, 2, math.pi / 2), cov, measurement=measured
    )
    record = FrameRecord.of(answer, 12.0)
    assert (record.status, record.reasons) == ('GATED', ('2 m off',))
    np.testing.assert_allclose(record.pose, [1, 2, math.pi / 2])
    np.testing.assert_allclose(np.diag(record.cov), [1, 2, 6])
    lost = PoseEstimate(5, Status.LOST, ('100 m',), measurement=measured)
    assert FrameRecord.of(lost).status == 'LOST'
    assert FrameRecord.of(lost).pose is None


def test_tum_files_keep_every_nanosecond(tmp_path):
    T = se3.from_xyz_rpy(1.25, -2.5, 0.125, 0.1, -0.2, 3.0)
    write_tum(tmp_path / 'a.tum', Trajectory.of([(1_700_000_000_123_456_789, T)]))
    back = read_tum(tmp_path / 'a.tum')
    assert back.stamps_ns[0] == 1_700_000_000_123_456_789
    np.testing.assert_allclose(back.poses[0], T, atol=1e-8)
    (tmp_path / 'b.tum').write_text('# by another tool\n1.7e9 0 0 0 0 0 0 1\n')
    assert read_tum(tmp_path / 'b.tum').stamps_ns[0] == 1_700_000_000 * 10**9
    (tmp_path / 'c.tum').write_text('1 2 three\n')
    with pytest.raises(Exception, match=r'c\.tum:1 is not'):
        read_tum(tmp_path / 'c.tum')


def test_topic_choice_of_the_command_line():
    assert TopicChoice.of(['fix=/gps', 'image=/cam']).fix == '/gps'
    for bad in ('fix', 'lidar=/points', 'fix='):
        with pytest.raises(Exception, match='expected KIND=/topic'):
            TopicChoice.of([bad])


def test_with_a_place_map_all_six_degrees_of_freedom_are_judged(inputs):
    run = run_with_errors(inputs, skip=(0,))
    tilted = [
        dataclasses.replace(
            frame,
            T_map_base=T @ se3.from_xyz_rpy(0.0, 0.0, 0.03, 0.0, np.radians(3.0), 0.0),
            cov_pose=np.diag([0.02] * 3 + [0.02] * 3) ** 2,
        )
        for frame, T in zip(run.frames, run.estimates.poses, strict=True)
    ]
    # What must not be trusted is no answer.
    tilted[-1] = dataclasses.replace(tilted[-1], status='LOST')
    without = RunRecord(tuple(tilted), run.datum, run.estimates, {'map.path': ''})
    assert 'pose' not in score(without, inputs).metrics
    placed = dataclasses.replace(without, parameters={'place_map': 'hall.place'})
    pose = score(placed, inputs).metrics['pose']
    assert pose['translation_median_m'] == pytest.approx(0.03)
    assert pose['rotation_median_deg'] == pytest.approx(3.0)
    # Five of seven frames: one nobody reported on, one is lost.
    assert pose['answered'] == pytest.approx(5 / 7)
    assert pose['recall_5cm_5deg'] == pytest.approx(5 / 7)
    assert pose['recall_2cm_2deg'] == 0.0
    assert pose['translation_mean_m'] is None


def test_steps_beyond_odometry_and_who_measured_are_told(inputs):
    run = run_with_errors(inputs, lateral=0.3)
    poses = run.estimates.poses.copy()
    poses[4:, :2, 3] += (0.6, -0.8)
    frames = tuple(
        dataclasses.replace(f, source='aerial' if i < 3 else 'place', T_map_base=poses[i])
        for i, f in enumerate(run.frames)
    )
    m = score(dataclasses.replace(run, frames=frames), inputs).metrics
    assert m['measured_by'] == {'aerial': 3, 'place': 4}
    assert m['continuity']['step_m_max'] == pytest.approx(1.0, abs=0.1)
    assert m['continuity']['step_m_median'] < 0.1


@pytest.mark.parametrize(
    ('fields', 'source'),
    [
        ({'likelihood_mean': np.zeros(3), 'likelihood_cov': np.eye(3)}, 'aerial'),
        ({'T_map_base': np.eye(4), 'cov': np.eye(6)}, 'place'),
    ],
)
def test_a_record_names_the_source_of_what_was_used_only(fields, source):
    used = PoseMeasurement(5, Status.OK, **fields)
    estimate = PoseEstimate(5, Status.OK, (), np.eye(4), np.eye(6), measurement=used)
    assert FrameRecord.of(estimate).source == source
    gated = dataclasses.replace(
        estimate, measurement=dataclasses.replace(used, status=Status.GATED)
    )
    assert FrameRecord.of(gated).source == ''
    assert FrameRecord.of(dataclasses.replace(estimate, measurement=None)).source == ''
