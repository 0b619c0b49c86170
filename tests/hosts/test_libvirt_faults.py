"""Daemons and guests that die or freeze: what survives, what answers, how soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from uuid import UUID

import libvirt
import pytest

from hosts.virt.connection import Limits
from hosts.virt.errors import CallTimeout, HostUnreachable, InvalidState, VirtError
from hosts.virt.spec import DiskSpec, DomainEvent, EventKind, Power
from tests.hosts.contract import MIB, wait_until
from tests.hosts.real_guests import Guests, guests
from tests.kvm import KvmHost, kvm_host

pytestmark = pytest.mark.qemu

__all__ = ["guests", "kvm_host"]


class Heard:
    """The events of a host, as they come."""

    def __init__(self, bench: Guests) -> None:
        self.events: list[DomainEvent] = []
        self.stop = bench.driver.watch(self.events.append)
        self.wait(EventKind.CONNECTED)

    def wait(self, kind: EventKind, uuid: UUID | None = None, seconds: float = 15) -> None:
        wait_until(
            lambda: any(event.kind is kind and event.uuid == uuid for event in self.events),
            seconds,
            f"{kind} of {uuid}",
        )


@contextmanager
def frozen(host: KvmHost, *pids: int) -> Iterator[None]:
    numbers = [str(pid) for pid in pids]
    host.exec("kill", "-STOP", *numbers)
    try:
        yield
    finally:
        host.exec("kill", "-CONT", *numbers, check=False)


# --- libvirtd dies ------------------------------------------------------------------


def test_guests_survive_libvirtd_and_the_driver_finds_them_again(guests: Guests) -> None:
    specs = [guests.running() for _ in range(3)]
    qemus = guests.host.qemu_pids()
    heard = Heard(guests)
    guests.host.kill_libvirtd()
    heard.wait(EventKind.DISCONNECTED)
    with pytest.raises(HostUnreachable):
        guests.driver.domains()
    assert guests.host.qemu_pids() == qemus
    heard.events.clear()
    guests.host.restart_libvirtd()
    back = time.monotonic()
    wait_until(lambda: reachable(guests), 10, "the driver answers again")
    heard.wait(EventKind.CONNECTED, seconds=10 - (time.monotonic() - back))
    assert {guests.power(spec.uuid) for spec in specs} == {Power.RUNNING}
    assert guests.host.qemu_pids() == qemus
    guests.driver.destroy(specs[0].uuid)
    heard.wait(EventKind.STOPPED, specs[0].uuid)
    heard.stop()


def reachable(guests: Guests) -> bool:
    try:
        guests.driver.domains()
    except HostUnreachable:
        return False
    return True


def test_a_start_cut_by_the_death_of_libvirtd_ends_in_a_known_state(guests: Guests) -> None:
    """Whatever the daemon made of it: after its return the guest starts."""
    guests.driver._phantoms.patience = 3.0
    spec = guests.spec()
    guests.driver.define(spec)
    failures: list[VirtError] = []

    def start() -> None:
        try:
            guests.driver.start(spec.uuid)
        except VirtError as error:
            failures.append(error)

    starter = threading.Thread(target=start)
    starter.start()
    time.sleep(0.15)
    guests.host.kill_libvirtd()
    starter.join(timeout=15)
    assert not starter.is_alive()
    assert all(isinstance(error, (HostUnreachable, CallTimeout)) for error in failures)
    guests.host.restart_libvirtd()
    wait_until(lambda: reachable(guests), 10, "the driver answers again")
    guests.driver.start(spec.uuid)
    assert guests.power(spec.uuid) is Power.RUNNING


# --- libvirtd freezes -----------------------------------------------------------------


def test_a_frozen_libvirtd_ends_calls_and_opens_the_breaker(kvm_host: KvmHost) -> None:
    limits = Limits(open_deadline=2.0, keepalive_interval=1, keepalive_count=2)
    bench = Guests(kvm_host, limits)
    spec = bench.running()
    before = threading.active_count()
    with frozen(kvm_host, kvm_host.libvirtd_pid()):
        started = time.monotonic()
        with pytest.raises((HostUnreachable, CallTimeout)):
            bench.driver.domains()
        assert time.monotonic() - started < 10
        with pytest.raises(HostUnreachable):
            bench.driver.domains()
        answered_at_once(bench)
        assert threading.active_count() - before <= 6
    wait_until(lambda: reachable(bench), 10, "the driver answers again")
    assert bench.power(spec.uuid) is Power.RUNNING
    bench.dispose()


def answered_at_once(bench: Guests) -> None:
    """While the breaker is open, a hundred questions cost no time."""
    started = time.monotonic()
    slow = 0
    for _ in range(100):
        asked = time.monotonic()
        with pytest.raises(HostUnreachable):
            bench.driver.domains()
        slow += time.monotonic() - asked > 0.1
    assert slow <= 2  # whoever tries after a pause waits for the host, the others do not
    assert time.monotonic() - started < 6


# --- one QEMU freezes -----------------------------------------------------------------


def test_a_frozen_qemu_hurts_nobody_else(guests: Guests) -> None:
    ill, well = guests.running(), guests.running()
    pid = guests.host.qemu_pids()[ill.name]
    with frozen(guests.host, pid):
        threads = [threading.Thread(target=shut_down, args=(guests, ill.uuid)) for _ in range(6)]
        for thread in threads:
            thread.start()
        time.sleep(0.5)
        started = time.monotonic()
        seen = {domain.uuid: domain.power for domain in guests.driver.domains()}
        assert seen[ill.uuid] is Power.RUNNING
        assert well.uuid in {one.uuid for one in guests.driver.stats()}
        guests.driver.reset(well.uuid)
        assert time.monotonic() - started < 8  # a call that waits for the ill one takes 15 or more
        started = time.monotonic()
        guests.driver.destroy(ill.uuid)
        assert time.monotonic() - started < 15
        assert guests.power(ill.uuid) is Power.OFF
    for thread in threads:
        thread.join(timeout=35)
        assert not thread.is_alive()


def shut_down(guests: Guests, uuid: UUID) -> None:
    """Any answer will do, as long as one comes."""
    try:
        guests.driver.shutdown(uuid)
    except VirtError:
        return


# --- what others do -------------------------------------------------------------------


def test_undefine_takes_a_managed_save_and_snapshots_along(guests: Guests) -> None:
    saved, snapshotted = guests.running(), guests.spec()
    disk = DiskSpec(guests.prefix, "snapshotted.qcow2", "vda", "qcow2")
    base = snapshotted.disks[0].volume
    guests.driver.create_overlay(guests.prefix, disk.volume, base=base, capacity_bytes=MIB)
    guests.driver.define(replace(snapshotted, disks=(disk,)))
    outside = libvirt.open(guests.host.uri)
    outside.lookupByUUID(saved.uuid.bytes).managedSave(0)
    snapshot = "<domainsnapshot><name>theirs</name></domainsnapshot>"
    outside.lookupByUUID(snapshotted.uuid.bytes).snapshotCreateXML(snapshot, 0)
    for spec in (saved, snapshotted):
        with pytest.raises(libvirt.libvirtError):
            outside.lookupByUUID(spec.uuid.bytes).undefine()
        assert guests.driver.undefine(spec.uuid) is True
        assert guests.driver.domain(spec.uuid) is None
    outside.close()


def test_a_domain_of_ours_with_an_unfiltered_card_is_not_started(guests: Guests) -> None:
    """Somebody took the filter out with virsh."""
    spec = guests.spec()
    guests.driver.define(spec)
    outside = libvirt.open(guests.host.uri)
    document = outside.lookupByUUID(spec.uuid.bytes).XMLDesc(0)
    card = "<interface type='user'><model type='virtio'/></interface></devices>"
    outside.defineXML(document.replace("</devices>", card))
    outside.close()
    with pytest.raises(InvalidState, match="filter"):
        guests.driver.start(spec.uuid)
    assert guests.power(spec.uuid) is Power.OFF
