# SPDX-License-Identifier: Apache-2.0
"""The node as a process: it starts by itself, ends cleanly, refuses bad parameters in words."""

import os
from pathlib import Path
import signal
import subprocess
import sys
import threading

import pytest

pytest.importorskip('rclpy')

from tests.ros.rig import next_domain

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def process():
    """Starts `geoloc_node` with parameters; ends what is left of it."""
    started = []

    def start(*arguments):
        env = {
            **os.environ,
            'ROS_DOMAIN_ID': str(next_domain()),
            'PYTHONPATH': str(ROOT),
            'PYTHONUNBUFFERED': '1',
        }
        started.append(
            subprocess.Popen(
                [sys.executable, '-m', 'geoloc_ros.node', '--ros-args', *arguments],
                env=env,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        return started[-1]

    yield start
    for each in started:
        if each.poll() is None:
            each.kill()
        each.wait()


def read_until(process, text, patience_s=60.0):
    """Lines up to the one with a text; a process that goes on without it is killed."""
    end = threading.Timer(patience_s, process.kill)
    end.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if text in line:
                return lines
    finally:
        end.cancel()
    raise AssertionError(f'{text!r} was never said:\n' + ''.join(lines))


@pytest.mark.parametrize(
    'signals', [[signal.SIGINT], [signal.SIGINT, signal.SIGINT], [signal.SIGTERM]]
)
def test_it_ends_cleanly(process, signals):
    p = process('-p', 'autostart:=true')
    read_until(p, 'images cannot be matched')
    for each in signals:
        p.send_signal(each)
    out, _ = p.communicate(timeout=20)
    assert p.returncode == 0, out
    assert 'Traceback' not in out, out


@pytest.mark.parametrize(
    ('argument', 'text'),
    [
        ('smoother.lag_s:=-1.0', 'smoother.lag_s'),
        ('image.transport:=pigeon', "'raw', 'compressed'"),
    ],
)
def test_a_bad_parameter_ends_it_with_a_sentence(process, argument, text):
    p = process('-p', argument)
    out, _ = p.communicate(timeout=20)
    assert p.returncode == 1, out
    assert text in out
    assert 'Traceback' not in out, out


def test_a_parameter_file_that_is_none_ends_it_with_a_sentence(process, tmp_path):
    path = tmp_path / 'torn.yaml'
    path.write_text('/**: {ros__parameters: {map: [')
    p = process('--params-file', str(path))
    out, _ = p.communicate(timeout=20)
    assert p.returncode == 1 and str(path) in out, out
    assert 'Traceback' not in out, out


def test_a_misspelt_parameter_is_told(process, tmp_path):
    path = tmp_path / 'params.yaml'
    path.write_text("/**: {ros__parameters: {use_sim_time: false, map: {pth: '/x.tif'}}}")
    p = process('--params-file', str(path))
    said = ''.join(read_until(p, 'waits for a lifecycle manager'))
    assert "there is no parameter 'map.pth'; did you mean 'map.path'?" in said
    assert 'use_sim_time' not in said
    p.send_signal(signal.SIGINT)
    out, _ = p.communicate(timeout=20)
    assert p.returncode == 0, out


def test_what_cannot_be_configured_is_told_and_the_process_lives(process):
    p = process('-p', 'autostart:=true', '-p', 'map.path:=/no/such.tif')
    said = ''.join(read_until(p, 'configure failed'))
    assert '/no/such.tif does not exist; expected a GeoTIFF' in said
    assert 'still unconfigured' in said and 'Traceback' not in said
    p.send_signal(signal.SIGINT)
    out, _ = p.communicate(timeout=20)
    assert p.returncode == 0 and 'Traceback' not in out, out


@pytest.mark.parametrize('signalled', [True, False])
def test_a_context_taken_between_two_waits_is_no_error(monkeypatch, signalled):
    """And the same words while the context lives are one."""
    from rclpy._rclpy_pybind11 import RCLError

    from geoloc_ros import node as module

    said: list[str] = []
    alive = [True]

    class Executor:
        def add_node(self, node):
            pass

        def spin(self):
            alive[0] = not signalled and not said
            raise RCLError('failed to initialize wait set: the given context is not valid')

    class Node:
        def get_logger(self):
            return self

        def error(self, text):
            said.append(text)
            alive[0] = False

    monkeypatch.setattr(module.rclpy, 'ok', lambda: alive[0])
    module._spin(Node(), Executor())
    assert bool(said) is not signalled
