# SPDX-License-Identifier: Apache-2.0
"""Lifecycle and time: many cycles, transitions that are not allowed, clocks that jump."""

import pytest

pytest.importorskip('rclpy')

import sys
import threading

from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.qos import QoSProfile
from rosgraph_msgs.msg import Clock

from geoloc_ros import messages
from tests.ros.rig import START_NS

S = 10**9


def test_twenty_times_on_and_off(rig, map_path):
    r = rig({'map.path': map_path})
    r.start()
    r.ready(START_NS)
    threads, timers = threading.active_count(), len(list(r.node.timers))
    for cycle in range(20):
        stamp = START_NS + cycle * S
        r.image(stamp)
        assert r.status_of(stamp)[0] == 'NO_PRIOR'
        r.node.trigger_deactivate()
        # While inactive whatever arrives is let go.
        r.image(stamp + 1)
        r.node.trigger_activate()
    assert r.node.session.frame_counts['NO_PRIOR'] >= 20
    # Nothing is left behind, and nothing is there twice.
    assert (threading.active_count(), len(list(r.node.timers))) == (threads, timers)
    for topic in ('image', 'fix', 'odom'):
        assert r.pub[topic].get_subscription_count() == 1
    assert r.peer.count_publishers('geoloc/pose') == 1
    r.node.trigger_deactivate()
    for _ in range(3):
        r.node.trigger_cleanup()
        assert r.node.session is None
        r.node.trigger_configure()
    r.node.trigger_activate()
    r.ready(START_NS)
    r.image(START_NS + 100 * S)
    assert r.status_of(START_NS + 100 * S)[0] == 'NO_PRIOR'


def test_transitions_by_service_also_those_that_are_not_allowed(rig):
    r = rig()
    change = r.peer.create_client(ChangeState, 'geoloc/change_state')
    state = r.peer.create_client(GetState, 'geoloc/get_state')
    assert change.wait_for_service(5) and state.wait_for_service(5)

    def ask(client, request):
        future = client.call_async(request)
        r.wait(future.done, 'an answer')
        return future.result()

    def go(transition):
        request = ChangeState.Request(transition=Transition(id=transition))
        return ask(change, request).success

    assert go(Transition.TRANSITION_CONFIGURE)
    assert go(Transition.TRANSITION_ACTIVATE)
    # rclpy throws out of the service for this one; the node's own spin says so and goes on.
    change.call_async(
        ChangeState.Request(transition=Transition(id=Transition.TRANSITION_CONFIGURE))
    )
    r.wait(lambda: r.errors, 'an error from rclpy')
    r.errors.clear()
    assert ask(state, GetState.Request()).current_state.label == 'active'
    assert go(Transition.TRANSITION_DEACTIVATE)
    assert go(Transition.TRANSITION_CLEANUP)
    assert go(Transition.TRANSITION_UNCONFIGURED_SHUTDOWN)


def test_require_tf_refuses_where_there_is_none(rig):
    try:
        import tf2_msgs  # noqa: F401

        pytest.skip('tf2_msgs is installed')
    except ImportError:
        pass
    r = rig({'output.require_tf': True})
    r.node.trigger_configure()
    assert r.node.session is None
    assert 'tf2_msgs is not installed' in r.node._why


def test_simulated_time_that_jumps_back_resets(rig):
    r = rig(sim_time=True)
    clock = r.peer.create_publisher(Clock, '/clock', QoSProfile(depth=10))
    r.start()
    r.wait(lambda: clock.get_subscription_count(), 'a clock listener')

    def tick(stamp):
        clock.publish(Clock(clock=messages.time_message(stamp)))
        r.wait(lambda: r.node.session.now_ns() == stamp, 'the time')

    tick(START_NS + 20 * S)
    r.localize(START_NS + 20 * S)
    localizer = r.node.session.localizer
    r.wait(lambda: localizer.estimate().T_map_base is not None, 'an estimate')
    ahead = START_NS + 30 * S
    r.ready(START_NS)
    r.image(ahead)
    status, reasons = r.status_of(ahead)
    assert status == 'BAD_STAMP' and 'use_sim_time' in reasons
    tick(START_NS)
    r.wait(lambda: localizer.counters['reset'] == 1, 'a reset')
    assert localizer.estimate().T_map_base is None
    r.localize(START_NS)
    r.wait(lambda: localizer.estimate().T_map_base is not None, 'a new estimate')


def test_the_node_stays_light(rig, map_path):
    """Neither torch nor plotting nor a renderer come in with the node at work."""
    import subprocess

    code = (
        'import sys, geoloc_ros.node, geoloc_core.visualization.overlay; '
        "print([m for m in ('torch', 'matplotlib', 'embreex', 'rosbags') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == '[]', done.stderr
