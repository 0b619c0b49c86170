"""The peer of provisioning: the same guest, made by bare libvirt-python calls and nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import libvirt
import psutil

from hosts.virt import nwfilter, xml
from hosts.virt.spec import DomainSpec, FilterSpec

CHUNK = 128 * 1024


@dataclass(slots=True)
class BareGuest:
    """All that a guest is made of, ready as XML before the clock starts. Times in milliseconds."""

    connection: Any
    daemon: psutil.Process
    pool: str
    domain: DomainSpec
    filter: FilterSpec
    disk_xml: str
    seed_xml: str
    seed: bytes
    took: dict[str, float] = field(default_factory=dict)

    def make(self) -> float:
        """Disk, seed, filter, definition, start; milliseconds for all of it."""
        filter_xml = nwfilter.filter_xml(self.filter)
        domain_xml = xml.domain_xml(self.domain)
        pool = self.connection.storagePoolLookupByName(self.pool)
        started = time.perf_counter()
        with self._timed("disk"):
            pool.createXML(self.disk_xml, 0)
        with self._timed("seed"):
            self._upload(pool.createXML(self.seed_xml, 0))
        with self._timed("filter"):
            self.connection.nwfilterDefineXML(filter_xml)
        with self._timed("define"):
            flags = libvirt.VIR_DOMAIN_DEFINE_VALIDATE
            domain = self.connection.defineXMLFlags(domain_xml, flags)
        before = self._cpu_seconds()
        with self._timed("start"):
            domain.create()
        took = (time.perf_counter() - started) * 1000
        self.took["start, processor"] = (self._cpu_seconds() - before) * 1000
        return took

    def _cpu_seconds(self) -> float:
        """What libvirtd has used, with the tools that it started and that have ended."""
        times = self.daemon.cpu_times()
        return times.user + times.system + times.children_user + times.children_system

    def start_without_card(self) -> float:
        """Milliseconds of a start of the same guest without its network card, and so no filter."""
        domain = self._domain()
        domain.destroy()
        without = xml.domain_xml(replace(self.domain, nics=()))
        domain = self.connection.defineXMLFlags(without, libvirt.VIR_DOMAIN_DEFINE_VALIDATE)
        started = time.perf_counter()
        domain.create()
        return (time.perf_counter() - started) * 1000

    def dispose(self) -> None:
        """Take all of it away."""
        domain = self._domain()
        domain.destroy()
        domain.undefine()
        self.connection.nwfilterLookupByName(self.filter.name).undefine()
        pool = self.connection.storagePoolLookupByName(self.pool)
        for disk in self.domain.disks:
            pool.storageVolLookupByName(disk.volume).delete(0)

    def _domain(self) -> Any:
        return self.connection.lookupByUUID(self.domain.uuid.bytes)

    def _upload(self, volume: Any) -> None:
        stream = self.connection.newStream(0)
        volume.upload(stream, 0, len(self.seed), 0)
        for start in range(0, len(self.seed), CHUNK):
            stream.send(self.seed[start : start + CHUNK])
        stream.finish()

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self.took[name] = (time.perf_counter() - started) * 1000
