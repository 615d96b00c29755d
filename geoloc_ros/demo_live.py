# SPDX-License-Identifier: Apache-2.0
"""Replays a bag to the running node and listens to its answers."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import threading
import time
from typing import Any

import cv2
import numpy as np

from geoloc_core.bags.reader import BagReader
from geoloc_core.errors import BagError, GeolocError
from geoloc_core.messages.conversions import stamp_ns
from geoloc_core.messages.image_decoding import decode_compressed_image, decode_image
from geoloc_ros.bags.recorder import Recorder
from geoloc_ros.bags.run import RunInputs, RunRecord
from geoloc_ros.demo_node import NodeProcess

NODE = '/geoloc'
# The node and the player find each other within a few seconds; a loaded machine takes longer.
DISCOVERY_S = 60.0
_DISCOVERY_STEP_S = 1.0
# After the last message the node may still be busy with the last picture.
LAST_FRAME_S = 20.0

Progress = Callable[[float], Any]


@contextmanager
def graph_node(name: str) -> Iterator[Any]:
    """An rclpy node on simulated time, spun by a thread of its own, taken down at the end."""
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
    from rclpy.parameter import Parameter
    from rclpy.signals import SignalHandlerOptions

    # Ctrl-C stays a KeyboardInterrupt: rclpy's own handler would only shut the context down.
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    executor = SingleThreadedExecutor()
    thread: threading.Thread | None = None
    try:
        overrides = [Parameter('use_sim_time', value=True)]
        node = rclpy.create_node(name, parameter_overrides=overrides)
        executor.add_node(node)

        def spin() -> None:
            with suppress(ExternalShutdownException):
                executor.spin()

        thread = threading.Thread(target=spin, daemon=True)
        thread.start()
        yield node
    finally:
        executor.shutdown(timeout_sec=2.0)
        if thread is not None:
            thread.join(5.0)
        rclpy.try_shutdown()


class MatchPictures:
    """Keeps some of the node's overlays, beside the camera's pictures they answer."""

    def __init__(self, node: Any, topic: str, inputs: RunInputs) -> None:
        """Begins to listen; the node draws only because of this.

        Args:
            node: The rclpy node to listen with.
            topic: The node's match image.
            inputs: Tells which frame is the how-maniest.
        """
        from sensor_msgs.msg import Image

        self._number = {int(s): i for i, s in enumerate(inputs.frame_stamps_ns)}
        self._lock = threading.Lock()
        self._messages: dict[int, Any] = {}
        node.create_subscription(Image, topic, self._take, 2)

    def _take(self, message: Any) -> None:
        with self._lock:
            self._messages[stamp_ns(message.header.stamp)] = message

    def write(self, out: Path, reader: BagReader, image_topic: str) -> int:
        """Writes `frames/NNNNN_{view,match}.jpg`; returns how many pairs."""
        with self._lock:
            messages = dict(self._messages)
        folder = out / 'frames'
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob('*.jpg'):
            old.unlink()
        written = 0
        for item in reader.messages([image_topic]):
            overlay = messages.get(item.stamp_ns)
            if overlay is None or item.stamp_ns not in self._number:
                continue
            name = f'{self._number[item.stamp_ns]:05d}'
            for kind, message in (('view', item.message), ('match', overlay)):
                decode = decode_compressed_image if kind == 'view' else decode_image
                rgb = np.asarray(decode(message))
                quality = [cv2.IMWRITE_JPEG_QUALITY, 85]
                cv2.imwrite(str(folder / f'{name}_{kind}.jpg'), rgb[..., ::-1], quality)
            written += 1
        return written


def replay_to_node(
    child: NodeProcess,
    reader: BagReader,
    inputs: RunInputs,
    *,
    played: Collection[str],
    image_topic: str,
    out: Path,
    rate: float,
    progress: Progress | None = None,
) -> RunRecord:
    """Plays a bag to the node and records what it answers, to the last frame.

    Args:
        child: The running node.
        reader: The bag.
        inputs: Its content, for the frames to wait for.
        played: Topics of the bag that the node gets; nothing else is played.
        image_topic: The one with the pictures.
        out: Folder for pictures.
        rate: Speed against real time.
        progress: Told of the seconds of bag time played.

    Returns:
        What the node said.

    Raises:
        GeolocError: The node ended, or never began to listen.
    """
    from geoloc_ros.bags.player import BagPlayer, PlayOptions

    def tick(seconds: float) -> None:
        child.check()
        if progress is not None:
            progress(seconds)

    with graph_node('geoloc_demo') as node:
        recorder = Recorder(node, NODE)
        pictures = MatchPictures(node, f'{NODE}/match_image', inputs)
        options = PlayOptions(
            rate=rate, topics=played, wait_for=played, wait_timeout_s=_DISCOVERY_STEP_S
        )
        player = BagPlayer(reader, node, options)
        _wait_until_heard(player, child)
        _refuse_company(node)
        begin = time.monotonic()
        player.play(tick)
        took = time.monotonic() - begin
        _wait_for_last_frame(recorder, inputs, child)
        pictures.write(out, reader, image_topic)
        return recorder.record(details={'rate': rate, 'replay_s': round(took, 2)})


def _wait_until_heard(player: Any, child: NodeProcess) -> None:
    """Waits until the node listens to every topic.

    Raises:
        GeolocError: It ended, or does not listen after `DISCOVERY_S`.
    """
    deadline = time.monotonic() + DISCOVERY_S
    while True:
        child.check()
        try:
            player.wait_for_subscribers()
        except BagError as error:
            if time.monotonic() > deadline:
                raise GeolocError(
                    f'the node runs but does not listen ({error}); what it says is in '
                    f'{child.log_file}:\n{child.tail()}'
                ) from None
        else:
            return


def _refuse_company(node: Any) -> None:
    """Makes sure that what is recorded comes from one node.

    Raises:
        GeolocError: A second one answers on the same ROS graph.
    """
    speakers = node.count_publishers(f'{NODE}/status')
    if speakers > 1:
        raise GeolocError(
            f'{speakers} nodes named {NODE} are on ROS domain {os.environ.get("ROS_DOMAIN_ID")}: '
            'end the others, or try again'
        )


def _wait_for_last_frame(recorder: Recorder, inputs: RunInputs, child: NodeProcess) -> None:
    """Waits for the answer to the last picture; earlier ones are answered or dropped by then."""
    deadline = time.monotonic() + LAST_FRAME_S
    last = [int(s) for s in inputs.frame_stamps_ns[-1:]]
    while not recorder.wait_for_frames(last, 1.0):
        child.check()
        if time.monotonic() > deadline:
            return
    # Statuses of dropped frames may come from another thread a moment later.
    recorder.wait_for_frames(inputs.frame_stamps_ns, 2.0)
