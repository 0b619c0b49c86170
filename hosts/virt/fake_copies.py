"""Copies of volumes on a simulated host: what there is to read of a disk that holds nothing."""

from __future__ import annotations

from sqlite3 import Row
from typing import BinaryIO

from hosts.virt.driver import Progress
from hosts.virt.errors import AlreadyExists, InvalidState, NotFound
from hosts.virt.fake_base import host_call
from hosts.virt.fake_qcow2 import empty_qcow2
from hosts.virt.fake_volumes import HEAD_BYTES, VolumeCalls, find_volume, insert_volume
from hosts.virt.names import volume_name


class CopyCalls(VolumeCalls):
    """The part of the contract about copies."""

    @host_call
    def flatten_volume(
        self,
        pool: str,
        name: str,
        *,
        source: str,
        progress: Progress | None = None,
        timeout: float = 3600,
    ) -> None:
        volume_name(name)
        with self._transaction() as db:
            row = find_volume(db, pool, source)
            if row is None:
                raise NotFound(f"No volume {source} in pool {pool}")
            if row["format"] != "qcow2":
                raise InvalidState(f"Volume {source} is {row['format']} and not qcow2")
            if find_volume(db, pool, name) is not None:
                raise AlreadyExists(f"Volume {name} exists")
            size, base = int(row["allocation"]), row["base"]
            if base and (below := find_volume(db, pool, base)) is not None:
                size += int(below["allocation"])
            self._need_room(db, size)
            insert_volume(db, pool, name, row["capacity"], size, "qcow2")
        if progress is not None:
            progress(size)

    @host_call
    def download_volume(
        self,
        pool: str,
        name: str,
        sink: BinaryIO,
        *,
        progress: Progress | None = None,
        timeout: float = 3600,
    ) -> None:
        with self._transaction() as db:
            row = find_volume(db, pool, name)
        if row is None:
            raise NotFound(f"No volume {name} in pool {pool}")
        data = _content(row)
        sink.write(data)
        if progress is not None:
            progress(len(data))


def _content(row: Row) -> bytes:
    """What was written to it, if that was short enough to be kept; else an empty disk."""
    if 0 < row["length"] <= HEAD_BYTES:
        return bytes(row["head"])
    return empty_qcow2(row["capacity"], marker=row["name"].encode())
