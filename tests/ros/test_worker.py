# SPDX-License-Identifier: Apache-2.0
"""The two threads: newest wins, order is kept, nothing kills them."""

import threading

from geoloc_ros.worker import LatestWorker, OrderedWorker


def test_the_newest_wins_and_every_item_ends_somewhere():
    release, begun = threading.Event(), threading.Event()
    done, dropped = [], []

    def work(item):
        begun.set()
        release.wait(5)
        done.append(item)

    worker = LatestWorker(work, dropped.append, lambda item, error: None)
    worker.submit(0)
    assert begun.wait(5)
    for item in range(1, 5):
        worker.submit(item)
    release.set()
    assert worker.wait_idle(5)
    assert done == [0, 4]
    assert dropped == [1, 2, 3]
    assert worker.stop()
    worker.submit(9)
    assert dropped[-1] == 9


def test_the_worker_outlives_what_its_work_throws():
    failed, done = [], []

    def work(item):
        if item == 'bad':
            raise RuntimeError('no')
        done.append(item)

    worker = LatestWorker(work, lambda item: None, lambda item, e: failed.append((item, str(e))))
    worker.submit('bad')
    assert worker.wait_idle(5)
    worker.submit('good')
    assert worker.wait_idle(5)
    assert (failed, done) == ([('bad', 'no')], ['good'])
    worker.stop()


def test_stop_reports_what_was_waiting():
    release, begun = threading.Event(), threading.Event()
    dropped = []

    def work(item):
        begun.set()
        release.wait(5)

    worker = LatestWorker(work, dropped.append, lambda item, error: None)
    worker.submit(1)
    assert begun.wait(5)
    worker.submit(2)
    release.set()
    assert worker.stop()
    assert dropped in ([2], [])


def test_samples_are_taken_in_order_and_can_be_waited_for():
    seen = []
    worker = OrderedWorker(lambda error: seen.append(str(error)), lambda count: None)

    def fail():
        raise ValueError('torn')

    for number in range(100):
        worker.submit(seen.append, number)
    worker.submit(fail)
    worker.submit(seen.append, 'last')
    assert worker.wait_for_earlier(5)
    assert seen == [*range(100), 'torn', 'last']
    assert worker.stop()
    worker.submit(seen.append, 'after')
    assert worker.wait_for_earlier(0.01)
    assert seen[-1] == 'last'


def test_too_many_samples_cost_the_oldest():
    release, begun = threading.Event(), threading.Event()
    seen, lost = [], []

    def hold():
        begun.set()
        release.wait(5)

    worker = OrderedWorker(lambda error: None, lost.append, limit=3)
    worker.submit(hold)
    assert begun.wait(5)
    for number in range(5):
        worker.submit(seen.append, number)
    release.set()
    assert worker.wait_for_earlier(5)
    assert seen == [2, 3, 4]
    assert lost == [1, 1]
    worker.stop()
