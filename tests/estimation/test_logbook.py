# SPDX-License-Identifier: Apache-2.0
"""What is counted, and what a person is told."""

from geoloc_core.estimation.logbook import Logbook
from geoloc_core.types import Status


def test_fates_and_events_are_counted_by_their_kind():
    log, events = Logbook(), ['odometry broken: no odometry for 3 s', 're-acquired from GNSS']
    assert log.note('gnss', Status.GATED, 'too far', events) is Status.GATED
    assert log.note('gnss', Status.OK, '', []) is Status.OK
    assert log.counters == {
        'gnss.GATED': 1,
        'gnss.OK': 1,
        'odometry broken': 1,
        're-acquired': 1,
    }
    assert list(log.events) == [
        'odometry broken: no odometry for 3 s',
        're-acquired from GNSS',
    ]
    assert events == [] and log.refusals == {'gnss': ''}


def test_only_the_last_events_are_kept():
    log = Logbook()
    for number in range(60):
        log.note('odometry', Status.OK, '', [f'slip: {number}'])
    assert len(log.events) == 50 and log.events[-1] == 'slip: 59' and log.counters['slip'] == 60
