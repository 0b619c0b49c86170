"""Volumes of a directory pool: functions on an open connection.

libvirt can neither rename a volume nor say that one is half there. So an
upload first makes an empty volume ".upload-NAME" and removes it when NAME has
all its bytes. As long as that marker exists, NAME is not listed and not used
as a base, and the next upload or deletion clears both away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO
from xml.etree import ElementTree as ET

import libvirt

from hosts.virt import names, xml
from hosts.virt.errors import AlreadyExists, DiskFull, InvalidState, NotFound, VirtError
from hosts.virt.hostinfo import parse, refresh
from hosts.virt.spec import VolumeSeen

CHUNK = 128 * 1024
MARK = ".upload-"


def volumes(connection: Any, pool_name: str) -> list[VolumeSeen]:
    """See `Driver.volumes`."""
    pool = connection.storagePoolLookupByName(pool_name)
    refresh(pool)
    listed = pool.listAllVolumes(0)
    every = {volume.name(): volume for volume in listed}
    seen = []
    for name, volume in sorted(every.items()):
        if MARK + name in every:
            continue
        try:
            seen.append(_volume_seen(pool_name, name, volume))
        except libvirt.libvirtError as error:
            if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
                raise
    return seen


def _volume_seen(pool_name: str, name: str, volume: Any) -> VolumeSeen:
    described = parse(volume.XMLDesc(0))
    return VolumeSeen(
        pool=pool_name,
        name=name,
        capacity_bytes=int(described.findtext("capacity", "0")),
        allocation_bytes=int(described.findtext("allocation", "0")),
        format=format_of(described),
        file_bytes=int(described.findtext("physical", "0")),
        base=described.findtext("backingStore/path", ""),
    )


def format_of(described: ET.Element) -> str:
    """What a volume's description says of its format."""
    format_ = described.find("target/format")
    return format_.get("type", "") if format_ is not None else ""


def _known(pool: Any, name: str) -> Any | None:
    """The volume, if it was there when the pool was last looked at."""
    try:
        return pool.storageVolLookupByName(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return None


def find_volume(pool: Any, name: str) -> Any | None:
    """The volume, also if somebody else made its file since the pool was last looked at."""
    volume = _known(pool, name)
    if volume is None:
        refresh(pool)
        volume = _known(pool, name)
    return volume


def need_volume(pool: Any, name: str) -> Any:
    """The volume. Raises `NotFound`."""
    names.volume_name(name)
    volume = find_volume(pool, name)
    if volume is None:
        raise NotFound(f"No volume {name} in pool {pool.name()}")
    return volume


def delete(connection: Any, pool_name: str, name: str) -> bool:
    """See `Driver.delete_volume`. Of an unfinished upload, the volume goes before its marker."""
    names.volume_name(name)
    pool = connection.storagePoolLookupByName(pool_name)
    if name.startswith(MARK):
        marker = find_volume(pool, name)
        volume = _known(pool, name.removeprefix(MARK)) if marker is not None else None
    else:
        volume = find_volume(pool, name)
        marker = _known(pool, MARK + name)
    deleted = delete_one(volume)
    return delete_one(marker) or deleted


def delete_one(volume: Any | None) -> bool:
    if volume is None:
        return False
    try:
        volume.delete(0)
    except libvirt.libvirtError as error:
        if error.get_error_code() == libvirt.VIR_ERR_OPERATION_INVALID:
            # The host is still writing it, for somebody who may be gone by now.
            message = error.get_error_message()
            raise VirtError(message, code="resource_busy", retryable=True) from error
        if error.get_error_code() != libvirt.VIR_ERR_NO_STORAGE_VOL:
            raise
        return False
    return True


# --- overlays -------------------------------------------------------------------


def create_overlay(
    connection: Any, pool_name: str, name: str, base: str, capacity_bytes: int
) -> None:
    """See `Driver.create_overlay`."""
    names.volume_name(name)
    names.volume_name(base)
    pool = connection.storagePoolLookupByName(pool_name)
    base_volume = find_volume(pool, base)
    if base_volume is None or _unfinished(pool, base):
        raise NotFound(f"No volume {base} in pool {pool_name}")
    described = parse(base_volume.XMLDesc(0))
    if described.find("backingStore/path") is not None:
        raise InvalidState(f"Volume {base} stands on another file itself: it is no base")
    path = base_volume.path()
    existing = find_volume(pool, name)
    if existing is not None:
        _same_overlay(existing, path, capacity_bytes)
        return
    definition = xml.overlay_volume_xml(name, capacity_bytes, path, format_of(described))
    try:
        pool.createXML(definition, 0)
    except libvirt.libvirtError as error:
        if error.get_error_code() != libvirt.VIR_ERR_STORAGE_VOL_EXIST:
            raise
        _same_overlay(pool.storageVolLookupByName(name), path, capacity_bytes)


def _same_overlay(volume: Any, base_path: str, capacity_bytes: int) -> None:
    described = parse(volume.XMLDesc(0))
    backing = described.findtext("backingStore/path", "nothing")
    capacity = int(described.findtext("capacity", "0"))
    if backing != base_path or capacity != capacity_bytes or format_of(described) != "qcow2":
        raise AlreadyExists(f"Volume {volume.name()} has {capacity} bytes and stands on {backing}")


def grow(connection: Any, pool_name: str, name: str, capacity_bytes: int) -> None:
    """See `Driver.grow_volume`."""
    names.volume_name(name)
    volume = find_volume(connection.storagePoolLookupByName(pool_name), name)
    if volume is None:
        raise NotFound(f"No volume {name} in pool {pool_name}")
    described = parse(volume.XMLDesc(0))
    if format_of(described) != "qcow2":
        raise InvalidState(f"Volume {name} is {format_of(described)} and not qcow2")
    if int(described.findtext("capacity", "0")) < capacity_bytes:
        volume.resize(capacity_bytes, 0)


def _unfinished(pool: Any, name: str) -> bool:
    return _known(pool, MARK + name) is not None


# --- bytes ----------------------------------------------------------------------


def write(connection: Any, pool_name: str, name: str, data: bytes, capacity_bytes: int) -> None:
    """See `Driver.write_volume`."""
    names.volume_name(name)
    if len(data) > capacity_bytes:
        raise ValueError(f"{len(data)} bytes do not fit into {capacity_bytes}")
    pool = connection.storagePoolLookupByName(pool_name)
    volume = find_volume(pool, name)
    length = len(data)
    if volume is None:
        volume = pool.createXML(xml.raw_volume_xml(name, capacity_bytes), 0)
    else:
        described = parse(volume.XMLDesc(0))
        capacity = int(described.findtext("capacity", "0"))
        if capacity < capacity_bytes:
            volume.resize(capacity_bytes, 0)
        # Nothing of the former contents may stay behind the new ones.
        length = max(capacity, capacity_bytes)
    if length:
        _send(connection, volume, _padded(data, length), length)


def _padded(data: bytes, length: int) -> Iterator[bytes]:
    for start in range(0, len(data), CHUNK):
        yield data[start : start + CHUNK]
    zeros = bytes(CHUNK)
    left = length - len(data)
    while left > 0:
        yield zeros[: min(left, CHUNK)]
        left -= CHUNK


def _send(connection: Any, volume: Any, chunks: Iterator[bytes], length: int) -> None:
    stream = connection.newStream(0)
    volume.upload(stream, 0, length, 0)
    try:
        for chunk in chunks:
            send_all(stream, chunk)
    except BaseException:
        abort(stream)
        raise
    stream.finish()


def send_all(stream: Any, data: bytes) -> None:
    """Hand over all of `data` to a blocking stream."""
    view = memoryview(data)
    while view:
        sent = stream.send(bytes(view))
        if sent < 0:
            raise VirtError("The host stopped taking data")
        view = view[sent:]


def abort(stream: Any) -> None:
    """End a stream that failed; it may be past that already."""
    try:
        stream.abort()
    except libvirt.libvirtError:
        return


class Cancelled(VirtError):
    """Whoever wanted the upload does not any more."""

    code = "cancelled"


@dataclass(slots=True)
class Upload:
    """One upload, run in a thread; `sent` and `cancelled` are looked at from others."""

    pool: str
    name: str
    source: BinaryIO
    length: int
    format: str
    capacity_bytes: int
    sent: int = 0
    cancelled: bool = False

    def run(self, connection: Any) -> None:
        """See `Driver.upload_volume`."""
        names.volume_name(self.name)
        if self.name.startswith(MARK):
            raise ValueError(f"{self.name!r} starts like an unfinished upload")
        pool = connection.storagePoolLookupByName(self.pool)
        if find_volume(pool, self.name) is not None and not _unfinished(pool, self.name):
            return
        delete(connection, self.pool, self.name)
        marker = pool.createXML(xml.raw_volume_xml(MARK + self.name, 0), 0)
        # Raw whatever it holds: the bytes make the file, and qemu-img would put its own there.
        volume = pool.createXML(xml.raw_volume_xml(self.name, 0), 0)
        _send(connection, volume, self._chunks(), self.length)
        # The host learns that the file is a qcow2 only by looking again.
        refresh(pool)
        # Where the pool is full, libvirt 9.0 sometimes says that all is well.
        written = int(parse(volume.XMLDesc(0)).findtext("physical", "0"))
        if written < self.length:
            raise DiskFull(f"{self.name}: {written} of {self.length} bytes were written")
        if self.format == "raw" and self.capacity_bytes > self.length:
            volume.resize(self.capacity_bytes, 0)
        marker.delete(0)

    def _chunks(self) -> Iterator[bytes]:
        while self.sent < self.length:
            if self.cancelled:
                raise Cancelled(f"The upload of {self.name} was cancelled")
            chunk = self.source.read(min(CHUNK, self.length - self.sent))
            if not chunk:
                raise VirtError(
                    f"The source of {self.name} ended after {self.sent} of {self.length} bytes",
                    code="source_too_short",
                )
            yield chunk
            self.sent += len(chunk)
