# SPDX-License-Identifier: Apache-2.0
"""Writes rosbag2 bags without ROS."""

from pathlib import Path
import shutil
from types import TracebackType
from typing import Any

from geoloc_core.bags.messages import stamp_ns_of, typestore
from geoloc_core.bags.topics import LATCHED
from geoloc_core.errors import BagError


def _is_bag(path: Path) -> bool:
    return path.is_dir() and (not any(path.iterdir()) or (path / 'metadata.yaml').exists())


class BagWriter:
    """A rosbag2 bag being written; a context manager.

    Example:
    with BagWriter('out/drive') as bag:
        bag.write('/imu/data', message)

    Messages are rosbags' Jazzy types (`geoloc_core.bags.messages`), or serialized CDR bytes.
    """

    def __init__(self, path: str | Path, storage: str = 'mcap', overwrite: bool = False) -> None:
        """Starts a bag.

        Args:
            path: Folder of the bag, not yet there.
            storage: 'mcap' or 'sqlite3'.
            overwrite: Remove a bag that is already there.

        Raises:
            BagError: Something is there that may not be replaced, or the storage is unknown.
        """
        from rosbags.rosbag2 import StoragePlugin, Writer

        plugins = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}
        if storage not in plugins:
            raise BagError(f'unknown bag storage {storage!r}: expected one of {sorted(plugins)}')
        self.path = Path(path)
        if self.path.exists():
            if not overwrite:
                raise BagError(
                    f'{self.path} exists already: choose another name or allow overwriting it'
                )
            if not _is_bag(self.path):
                raise BagError(f'{self.path} is not a bag, so it is not overwritten')
            shutil.rmtree(self.path)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._writer: Any = Writer(self.path, version=9, storage_plugin=plugins[storage])
        self._writer.open()
        self._connections: dict[str, Any] = {}

    def write(
        self, topic: str, message: Any, stamp_ns: int | None = None, msgtype: str = ''
    ) -> None:
        """Appends a message.

        Args:
            topic: Where it belongs.
            message: A rosbags message, or serialized CDR bytes.
            stamp_ns: Time of recording; the header's stamp if None.
            msgtype: Its type, needed only for bytes.

        Raises:
            BagError: No time is known, bytes came without a type, or the topic changed its type.
        """
        serialized = isinstance(message, bytes | bytearray | memoryview)
        name = msgtype if serialized else message.__msgtype__
        if not name:
            raise BagError(f'serialized messages on {topic} need their type named')
        when = stamp_ns if stamp_ns is not None else (None if serialized else stamp_ns_of(message))
        if when is None:
            raise BagError(f'a {name} on {topic} carries no stamp: give its time of recording')
        connection = self._connections.get(topic)
        if connection is None:
            connection = self._connections[topic] = self._connect(topic, name)
        elif connection.msgtype != name:
            raise BagError(f'{topic} carries {connection.msgtype}, not {name}')
        data = message if serialized else typestore().serialize_cdr(message, name)
        self._writer.write(connection, when, data)

    def _connect(self, topic: str, name: str) -> Any:
        from rosbags.interfaces import (
            Qos,
            QosDurability,
            QosHistory,
            QosLiveliness,
            QosReliability,
            QosTime,
        )

        latched = topic in LATCHED
        forever = QosTime(sec=2147483647, nsec=4294967295)
        profile = Qos(
            history=QosHistory.KEEP_LAST,
            depth=1 if latched else 10,
            reliability=QosReliability.RELIABLE,
            durability=QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
            deadline=forever,
            lifespan=forever,
            liveliness=QosLiveliness.AUTOMATIC,
            liveliness_lease_duration=forever,
            avoid_ros_namespace_conventions=False,
        )
        return self._writer.add_connection(
            topic, name, typestore=typestore(), offered_qos_profiles=[profile]
        )

    def close(self) -> None:
        """Finishes the bag; it cannot be read before. Safe to call twice."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def __enter__(self) -> 'BagWriter':
        """The writer itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Finishes the bag, also after an error: what was written stays readable."""
        self.close()
