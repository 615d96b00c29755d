# SPDX-License-Identifier: Apache-2.0
import json

import numpy as np
import pytest

from geoloc_core.bags.reader import read_bag
from geoloc_core.errors import BagError, ConfigError
from geoloc_core.geometry import se3
from geoloc_core.localizer import Localizer
from geoloc_core.maps.opening import open_map
from geoloc_core.types import PoseMeasurement, Status
from geoloc_ros.assembly import build_config
from geoloc_ros.bags.offline import OfflineOptions, run_offline
from geoloc_ros.bags.run import read_inputs
from geoloc_ros.bags.scoring import score
from geoloc_ros.cli.main import main
from geoloc_ros.parameters import defaults


class Oracle:
    """A source that knows the truth; notes the order of what it was asked."""

    def __init__(self, truth):
        self.truth = truth
        self.asked = []

    def measure(self, view, prior, frame, map_source):
        self.asked.append(view.stamp_ns)
        mean = np.array(se3.planar(self.truth.at([view.stamp_ns])[0][0]))
        cov = np.diag([0.05, 0.05, 0.01]) ** 2
        return PoseMeasurement(view.stamp_ns, Status.OK, likelihood_mean=mean, likelihood_cov=cov)


def run(bag_path, options=None, **hooks):
    params = defaults()
    with read_bag(bag_path) as bag:
        from geoloc_core.geometry.geodesy import EnuFrame

        oracle = Oracle(bag.truth())
        frame = EnuFrame(bag.truth_datum())
        localizer = Localizer(build_config(params), oracle, map_source=object(), frame=frame)
        record = run_offline(bag, localizer, params, options, **hooks)
        return record, read_inputs(bag), oracle


def test_a_drive_is_localized_and_the_same_twice(drive_bag):
    record, inputs, _ = run(drive_bag)
    scored = score(record, inputs).metrics
    assert scored['frames'] == 7
    assert scored['frames_unaccounted'] == 0
    assert scored['localized'] >= 3  # the first fixes must tell the yaw first
    assert scored['systems']['geoloc']['position_median_m'] < 0.15
    assert record.details['sensor_messages_refused'] == {'fix: NO_YAW': pytest.approx(5, abs=9)}
    again, _, _ = run(drive_bag)
    for a, b in zip(record.frames, again.frames, strict=True):
        assert (a.status, a.reasons) == (b.status, b.reasons)
        if a.pose is not None:
            np.testing.assert_array_equal(a.pose, b.pose)
            np.testing.assert_array_equal(a.cov, b.cov)


def test_frames_can_be_chosen_hooked_and_delayed(drive_bag):
    seen = []
    options = OfflineOptions(every=2, offset=1, image_delay_s=0.3)
    record, _, oracle = run(
        drive_bag,
        options,
        before_view=lambda view: seen.append(view.stamp_ns),
        after_view=lambda number, view, estimate: seen.append(number),
    )
    stamps = [f.stamp_ns for f in record.frames]
    assert len(stamps) == 3
    assert seen == [stamps[0], 0, stamps[1], 1, stamps[2], 2]
    assert set(oracle.asked) <= set(stamps)


def test_sensors_can_be_left_out(drive_bag):
    record, _, _ = run(drive_bag, OfflineOptions(sensors=('odometry', 'imu', 'image')))
    assert {f.status for f in record.frames} == {'NO_PRIOR'}
    record, inputs, _ = run(drive_bag, OfflineOptions(sensors=('fix', 'odometry')))
    assert record.frames == ()
    assert score(record, inputs).metrics['frames_unaccounted'] == 7


def test_commands_from_drive_to_report(drive_bag, tmp_path, capsys):
    tif, out = tmp_path / 'map.tif', tmp_path / 'out'
    assert main(['bag', 'info', str(drive_bag)]) == 0
    assert '/gnss/fix' in capsys.readouterr().out
    assert main(['map', 'from-drive', str(drive_bag), '--out', str(tif), '--every', '2']) == 0
    source = open_map(tif)
    assert source.info.gsd == pytest.approx(0.1, rel=0.01)
    source.close()
    command = ['evaluate', str(drive_bag), '--map', str(tif), '--out', str(out), '--no-report']
    assert main([*command, '--set', 'gnss.correlation_s=0.0']) == 0
    metrics = json.loads((out / 'metrics.json').read_text())
    assert metrics['frames'] == 7
    assert metrics['frames_unaccounted'] == 0
    assert metrics['parameters']['gnss.correlation_s'] == 0.0
    assert (out / 'map.json').exists()
    assert (out / 'trajectory_truth.tum').exists()
    assert 'odometry' in capsys.readouterr().out


def test_commands_explain_what_is_wrong(drive_bag, tmp_path, capsys):
    for command, text in (
        (['evaluate', 'nowhere.bag'], 'no bag at nowhere.bag'),
        (['evaluate', str(drive_bag), '--set', 'nonsense=1'], "no parameter 'nonsense'"),
        (['evaluate', str(drive_bag), '--topic', 'fix=/x'], 'has no topic /x'),
        (['map', 'from-drive', str(drive_bag), '--out', 'x', '--poses', 'y.tum'], 'no trajectory'),
        (['replay', str(drive_bag), '--remap', 'oops'], 'expected /from:=/to'),
    ):
        assert main(command) == 1
        assert text in capsys.readouterr().err


def test_half_settings_are_refused():
    from geoloc_ros.cli.evaluate import parameters

    with pytest.raises(ConfigError, match='expected NAME=VALUE'):
        parameters(None, ['gnss'], None)
    assert issubclass(BagError, Exception)
