"""What guests wrote to their serial ports, kept by the host: functions on an open connection.

Each guest's definition tells libvirt's virtlogd to write all of it into a file
as well, whether anybody looks or not. virtlogd keeps that file short: when it
is full it becomes NAME.0, and the oldest goes (`max_size` and `max_backups` in
virtlogd.conf). Their directory is a storage pool of ours, so that they are read
and deleted over whatever connection the host has.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Any
from uuid import UUID

import libvirt

from hosts.virt import domains, storage, xml
from hosts.virt.errors import Unsupported
from hosts.virt.hostinfo import ensure_pool, is_test_driver, refresh

POOL = "vpspanel-logs"
CHUNK = 64 * 1024
READ_LIMIT = 16 * 1024 * 1024  # of one file, whatever its host keeps


def ensure_directory(connection: Any) -> None:
    """virtlogd opens files and makes no directories: there must be one before a guest starts."""
    if is_test_driver(connection):
        return
    pool = _pool(connection)
    if pool is None or not pool.isActive():
        ensure_pool(connection, POOL, xml.SERIAL_LOG_DIR)


def read(connection: Any, uuid: UUID, limit: int) -> bytes:
    """See `Driver.serial_log`."""
    if is_test_driver(connection):
        raise Unsupported("virStorageVolDownload is not implemented: no log can be read")
    domains.need_ours(connection, uuid)
    pool = _pool(connection)
    if pool is None:
        return b""
    name = xml.serial_log_name(uuid)
    newest = _tail(connection, pool, name, limit)
    if len(newest) < limit:
        newest = _tail(connection, pool, f"{name}.0", limit - len(newest)) + newest
    return newest


def every(connection: Any) -> list[UUID]:
    """See `Driver.serial_logs`."""
    pool = _pool(connection)
    if pool is None:
        return []
    refresh(pool)
    found = {xml.serial_log_owner(volume.name()) for volume in pool.listAllVolumes(0)}
    return sorted(uuid for uuid in found if uuid is not None)


def delete(connection: Any, uuid: UUID) -> bool:
    """See `Driver.delete_serial_log`."""
    pool = _pool(connection)
    if pool is None:
        return False
    refresh(pool)
    files = [v for v in pool.listAllVolumes(0) if xml.serial_log_owner(v.name()) == uuid]
    deleted = [storage.delete_one(volume) for volume in files]
    return any(deleted)


def _pool(connection: Any) -> Any | None:
    """Ours, if this host has it; started, if it was only stopped."""
    try:
        pool = connection.storagePoolLookupByName(POOL)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_POOL:
            raise
        return None
    if not pool.isActive():
        with suppress(libvirt.libvirtError):  # somebody else was quicker, or it cannot be
            pool.create(0)
    return pool


def _tail(connection: Any, pool: Any, name: str, limit: int) -> bytes:
    """The last `limit` bytes of a file; nothing if it is not there."""
    volume = storage.find_volume(pool, name)
    if volume is None:
        return b""
    kept: deque[bytes] = deque()
    size = total = 0
    stream = connection.newStream(0)
    volume.download(stream, 0, 0, 0)
    try:
        while total < READ_LIMIT and (data := stream.recv(CHUNK)):
            kept.append(data)
            size, total = size + len(data), total + len(data)
            while size - len(kept[0]) >= limit:
                size -= len(kept.popleft())
    except BaseException:
        storage.abort(stream)
        raise
    if total >= READ_LIMIT:
        storage.abort(stream)
    else:
        stream.finish()
    return b"".join(kept)[-limit:]
