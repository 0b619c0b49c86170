"""Copies of volumes: flat ones beside their source, and their bytes on the way to the panel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, BinaryIO

from hosts.virt import names, xml
from hosts.virt.errors import AlreadyExists, InvalidState
from hosts.virt.hostinfo import parse
from hosts.virt.storage import CHUNK, Cancelled, abort, find_volume, format_of, need_volume


def flatten(connection: Any, pool_name: str, name: str, source: str) -> None:
    """See `Driver.flatten_volume`.

    The host reads the source as the qcow2 that it was made as, and what it
    stands on in the format that is written in it: nothing is guessed from
    bytes that a guest could have written.
    """
    names.volume_name(name)
    pool = connection.storagePoolLookupByName(pool_name)
    original = need_volume(pool, source)
    described = parse(original.XMLDesc(0))
    if format_of(described) != "qcow2":
        raise InvalidState(f"Volume {source} is {format_of(described)} and not qcow2")
    if described.find("backingStore/path") is not None:
        below = described.find("backingStore/format")
        if below is None or below.get("type") not in ("qcow2", "raw"):
            raise InvalidState(f"Volume {source} does not say what it stands on")
    if find_volume(pool, name) is not None:
        raise AlreadyExists(f"Volume {name} exists in pool {pool_name}")
    capacity = int(described.findtext("capacity", "0"))
    pool.createXMLFrom(xml.flat_volume_xml(name, capacity), original, 0)


def written(connection: Any, pool_name: str, name: str) -> int:
    """Bytes that the file of a volume takes so far."""
    pool = connection.storagePoolLookupByName(pool_name)
    return int(pool.storageVolLookupByName(name).info()[2])


@dataclass(slots=True)
class Download:
    """One download, run in a thread; `received` and `cancelled` are looked at from others."""

    pool: str
    name: str
    sink: BinaryIO
    received: int = 0
    cancelled: bool = False

    def run(self, connection: Any) -> None:
        """See `Driver.download_volume`."""
        volume = need_volume(connection.storagePoolLookupByName(self.pool), self.name)
        stream = connection.newStream(0)
        volume.download(stream, 0, 0, 0)
        try:
            while data := stream.recv(CHUNK):
                if self.cancelled:
                    raise Cancelled(f"The download of {self.name} was cancelled")
                self.sink.write(data)
                self.received += len(data)
        except BaseException:
            abort(stream)
            raise
        stream.finish()
