"""The Driver contract over libvirt: which lane and which deadline each call has.

What the calls do is in hostinfo.py, storage.py, usage.py, copies.py, domains.py and console.py.
`qemu:///system` and `qemu+ssh://…` are hosts; `test:///default` is libvirt's
own test driver, which raises `Unsupported` where it goes no further.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO
from uuid import UUID

import structlog

from hosts.virt import (
    console,
    copies,
    domains,
    hostinfo,
    names,
    nwfilter,
    seriallog,
    ssh,
    stats,
    storage,
    this_machine,
    usage,
    vnc,
)
from hosts.virt.adopting import AdoptCalls
from hosts.virt.connection import Limits, Purpose
from hosts.virt.driver import Progress, SerialStream
from hosts.virt.errors import NotFound, Unsupported, VirtError
from hosts.virt.events import Sink, Watcher
from hosts.virt.linked import CHANGE, QUERY, SLOW
from hosts.virt.moves import MoveCalls
from hosts.virt.spec import (
    DomainSeen,
    DomainSpec,
    DomainStats,
    FilterSpec,
    HostLoad,
    HostSeen,
    NetworkSpec,
    PoolSeen,
    VolumeSeen,
)
from hosts.virt.tunnel import Tunnel
from hosts.virt.uri import is_local

log = structlog.get_logger(__name__)


class LibvirtDriver(AdoptCalls, MoveCalls):
    """See `Driver`. Opens nothing before the first call."""

    def __init__(self, uri: str, limits: Limits | None = None) -> None:
        super().__init__(uri, limits)
        self._phantoms = domains.Phantoms()
        self._tunnel = Tunnel(uri) if ssh.is_ssh(uri) else None
        self._watchers: list[Watcher] = []
        self._uploads: set[tuple[str, str]] = set()
        self._lock = threading.Lock()

    # --- the host -----------------------------------------------------------

    def probe(self) -> HostSeen:
        return self._ask(hostinfo.probe, timeout=CHANGE)

    def load(self) -> HostLoad:
        load = self._ask(stats.load)
        return this_machine.completed(load) if this_machine.is_this_machine(self.uri) else load

    def ensure_pool(self, name: str, path: str) -> PoolSeen:
        return self._do(lambda c: hostinfo.ensure_pool(c, name, path), timeout=SLOW)

    def pool(self, name: str) -> PoolSeen:
        return self._ask(lambda c: hostinfo.pool_facts(c, name), timeout=CHANGE)

    def ensure_network(self, spec: NetworkSpec) -> NetworkSpec:
        return self._do(lambda c: hostinfo.ensure_network(c, spec))

    # --- volumes ------------------------------------------------------------

    def volumes(self, pool: str) -> list[VolumeSeen]:
        return self._ask(lambda c: storage.volumes(c, pool), timeout=CHANGE)

    def write_volume(self, pool: str, name: str, data: bytes, *, capacity_bytes: int) -> None:
        self._do(lambda c: storage.write(c, pool, name, data, capacity_bytes), timeout=SLOW)

    def create_overlay(self, pool: str, name: str, *, base: str, capacity_bytes: int) -> None:
        self._do(
            lambda c: storage.create_overlay(c, pool, name, base, capacity_bytes), timeout=SLOW
        )

    def grow_volume(self, pool: str, name: str, *, capacity_bytes: int) -> None:
        self._do(lambda c: storage.grow(c, pool, name, capacity_bytes), timeout=SLOW)

    def volume_users(self, pool: str, name: str) -> list[str]:
        return self._ask(lambda c: usage.users(c, pool, name), timeout=CHANGE)

    def delete_volume(self, pool: str, name: str) -> bool:
        return self._do(lambda c: storage.delete(c, pool, name), timeout=SLOW)

    def upload_volume(
        self,
        pool: str,
        name: str,
        source: BinaryIO,
        *,
        length: int,
        format: str,  # noqa: A002 (the contract's word)
        capacity_bytes: int,
        progress: Progress | None = None,
        timeout: float = 3600,
    ) -> None:
        upload = storage.Upload(pool, name, source, length, format, capacity_bytes)
        with self._lock:
            if (pool, name) in self._uploads:
                raise VirtError(f"{name} is being uploaded", code="resource_busy", retryable=True)
            self._uploads.add((pool, name))
        try:
            self._run_upload(upload, progress, timeout)
        finally:
            with self._lock:
                self._uploads.discard((pool, name))

    def _run_upload(
        self, upload: storage.Upload, progress: Progress | None, timeout: float
    ) -> None:
        def look() -> None:
            if progress is not None:
                progress(upload.sent)

        def cancel() -> None:
            upload.cancelled = True

        try:
            self._run_alone(upload.run, look, cancel, what=upload.name, timeout=timeout)
        except BaseException:
            self._clear_upload(upload)
            raise
        if progress is not None:
            progress(upload.length)

    def _clear_upload(self, upload: storage.Upload) -> None:
        """Take away what was sent, if the host still listens; else the next upload does."""
        try:
            self.delete_volume(upload.pool, storage.MARK + upload.name)
        except (VirtError, ValueError) as error:
            log.info("upload_left_over", uri=self.uri, volume=upload.name, error=str(error))

    def flatten_volume(
        self,
        pool: str,
        name: str,
        *,
        source: str,
        progress: Progress | None = None,
        timeout: float = 3600,
    ) -> None:
        size = 0

        def look() -> None:
            nonlocal size
            if progress is None:
                return
            with suppress(VirtError):  # it has not begun, or the host is slow to say
                size = max(size, self._ask(lambda c: copies.written(c, pool, name)))
            progress(size)

        self._run_alone(
            lambda c: copies.flatten(c, pool, name, source),
            look,
            lambda: None,  # the host cannot be told to stop
            what=name,
            timeout=timeout,
        )

    def download_volume(
        self,
        pool: str,
        name: str,
        sink: BinaryIO,
        *,
        progress: Progress | None = None,
        timeout: float = 3600,
    ) -> None:
        download = copies.Download(pool, name, sink)

        def look() -> None:
            if progress is not None:
                progress(download.received)

        def cancel() -> None:
            download.cancelled = True

        self._run_alone(download.run, look, cancel, what=name, timeout=timeout)
        look()

    # --- network filters ----------------------------------------------------

    def ensure_filter(self, spec: FilterSpec) -> None:
        definition = nwfilter.filter_xml(spec)
        self._do(lambda c: c.nwfilterDefineXML(definition))

    def delete_filter(self, name: str) -> bool:
        names.filter_name(name)
        try:
            self._do(lambda c: c.nwfilterLookupByName(name).undefine())
        except NotFound:
            return False
        return True

    def filters(self) -> list[str]:
        every = self._ask(lambda c: [item.name() for item in c.listAllNWFilters(0)])
        return sorted(name for name in every if name.startswith("vps-"))

    # --- domains ------------------------------------------------------------

    def domains(self) -> list[DomainSeen]:
        return self._ask(lambda c: domains.every(c, self._phantoms), timeout=CHANGE)

    def domain(self, uuid: UUID) -> DomainSeen | None:
        return self._link.call(
            Purpose.QUERY,
            lambda c: domains.one(c, uuid, self._phantoms),
            timeout=QUERY,
            guest=uuid,
        )

    def stats(self) -> list[DomainStats]:
        return self._ask(stats.stats)

    def define(self, spec: DomainSpec) -> DomainSeen:
        def work(connection: Any) -> DomainSeen:
            seriallog.ensure_directory(connection)
            return domains.define(connection, spec, self._phantoms)

        return self._do(work, timeout=SLOW, guest=spec.uuid)

    def undefine(self, uuid: UUID) -> bool:
        def work(connection: Any) -> bool:
            gone = domains.undefine(connection, uuid)
            seriallog.delete(connection, uuid)  # also if a former call got no further
            return gone

        return self._do(work, guest=uuid)

    def start(self, uuid: UUID) -> None:
        self._do(lambda c: domains.start(c, uuid, self._phantoms), timeout=SLOW, guest=uuid)

    def shutdown(self, uuid: UUID) -> None:
        self._do(lambda c: domains.shutdown(c, uuid, self._phantoms), guest=uuid)

    def destroy(self, uuid: UUID) -> None:
        self._do(
            lambda c: domains.destroy(c, uuid, self._phantoms),
            timeout=SLOW,
            guest=uuid,
            rescue=True,
        )

    def reboot(self, uuid: UUID) -> None:
        self._do(lambda c: domains.reboot(c, uuid, self._phantoms), guest=uuid)

    def reset(self, uuid: UUID) -> None:
        self._do(lambda c: domains.reset(c, uuid, self._phantoms), guest=uuid)

    def set_password(self, uuid: UUID, user: str, password: str) -> None:
        self._do(
            lambda c: domains.set_password(c, uuid, user, password, self._phantoms), guest=uuid
        )

    # --- what guests wrote to their serial ports ----------------------------

    def serial_log(self, uuid: UUID, limit: int) -> bytes:
        return self._ask(lambda c: seriallog.read(c, uuid, limit), timeout=CHANGE)

    def serial_logs(self) -> list[UUID]:
        return self._ask(seriallog.every, timeout=CHANGE)

    def delete_serial_log(self, uuid: UUID) -> bool:
        return self._do(lambda c: seriallog.delete(c, uuid))

    # --- consoles and events ------------------------------------------------

    async def open_serial(self, uuid: UUID, *, force: bool = False) -> SerialStream:
        return await console.open_serial(
            self._link.open_alone, uuid, force=force, timeout=CHANGE / 2
        )

    async def open_vnc(self, uuid: UUID, viewer: asyncio.Protocol) -> None:
        if self._tunnel is not None:
            path = await console.in_thread(
                lambda: self._ask(lambda c: vnc.socket_path(c, uuid)), "libvirt-screen", CHANGE
            )
            await self._tunnel.connect(path, viewer)
        elif is_local(self.uri):
            await vnc.connect_locally(self._link.open_alone, uuid, viewer, timeout=CHANGE / 2)
        else:
            raise Unsupported(f"{self.uri}: screens are reached on this machine or over SSH only")

    def watch(self, sink: Sink) -> Callable[[], None]:
        watcher = Watcher(self._link.open_alone, sink)
        with self._lock:
            self._watchers.append(watcher)

        def stop() -> None:
            watcher.stop()
            with self._lock:
                if watcher in self._watchers:
                    self._watchers.remove(watcher)

        return stop

    def close(self) -> None:
        with self._lock:
            watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            watcher.stop()
        if self._tunnel is not None:
            self._tunnel.close()
        self._link.close()
