# SPDX-License-Identifier: Apache-2.0
"""The real node as a child process: started, watched, and never left behind."""

from collections.abc import Mapping, Sequence
import os
from pathlib import Path
import signal
import socket
import subprocess
import sys
from types import TracebackType

from geoloc_core.errors import GeolocError

_LOG_TAIL_LINES = 15


class NodeDiedError(GeolocError):
    """The node ended although nobody asked it to."""


def free_domain() -> int:
    """A ROS domain in which nobody on this machine takes part.

    A participant of domain d binds UDP port 7410 + 250 d, the next ones 2 further each (DDSI-RTPS
    9.6.1): a port that can be bound tells a free domain.

    Raises:
        GeolocError: All of them are taken.
    """
    # Above 101 the ports run into those that Linux gives out by itself.
    for domain in range(101, 0, -1):
        if all(_can_bind(7410 + 250 * domain + 2 * participant) for participant in range(3)):
            return domain
    raise GeolocError('all ROS domains from 1 to 101 are in use on this machine')


def _can_bind(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind(('', port))
        except OSError:
            return False
    return True


def ros_environment(domain_id: int) -> dict[str, str]:
    """Environment of a ROS graph of our own, seen by nobody outside this machine."""
    return {
        'ROS_DOMAIN_ID': str(domain_id),
        'ROS_AUTOMATIC_DISCOVERY_RANGE': 'LOCALHOST',
        'RCUTILS_COLORIZED_OUTPUT': '0',
        'PYTHONUNBUFFERED': '1',
    }


class NodeProcess:
    """`python -m geoloc_ros.node` with a parameter file; a context manager.

    The child gets a session of its own, so that Ctrl-C reaches the parent alone, which then ends
    the child in order.
    """

    def __init__(
        self,
        params_file: Path,
        log_file: Path,
        *,
        remap: Mapping[str, str],
        environment: Mapping[str, str],
        arguments: Sequence[str] = (),
    ) -> None:
        """Starts the node.

        Args:
            params_file: ROS parameter file.
            log_file: Gets everything the node prints.
            remap: Name inside the node -> topic.
            environment: Added to the parent's.
            arguments: Further ROS arguments.
        """
        self.log_file = log_file
        self._log = log_file.open('wb')
        command = [
            *(sys.executable, '-m', 'geoloc_ros.node', '--ros-args'),
            *('--params-file', str(params_file)),
        ]
        for name, topic in remap.items():
            command += ['-r', f'{name}:={topic}']
        self._process = subprocess.Popen(
            [*command, *arguments],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **environment},
            start_new_session=True,
        )

    def check(self) -> None:
        """Makes sure that the node lives.

        Raises:
            NodeDiedError: It does not; the message ends with what it said last.
        """
        code = self._process.poll()
        if code is not None:
            raise NodeDiedError(
                f'the node ended by itself (exit code {code}); the end of {self.log_file}:\n'
                + self.tail()
            )

    def tail(self) -> str:
        """The last lines the node printed."""
        lines = self.log_file.read_text(encoding='utf-8', errors='replace').splitlines()
        return '\n'.join(f'  {line}' for line in lines[-_LOG_TAIL_LINES:]) or '  (nothing)'

    def stop(self, patience_s: float = 10.0) -> int:
        """Asks the node to end, and insists if it does not.

        Args:
            patience_s: How long it may take after each request.

        Returns:
            Its exit code; 0 after an orderly end.
        """
        for request in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                break
            self._process.send_signal(request)
            try:
                self._process.wait(patience_s)
            except subprocess.TimeoutExpired:
                continue
        if not self._log.closed:
            self._log.close()
        return int(self._process.wait())

    def __enter__(self) -> 'NodeProcess':
        """The running node."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the node, whatever happened."""
        self.stop()
