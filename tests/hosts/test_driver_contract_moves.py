"""The driver contract: guests that go from one host to another, running or off."""

from __future__ import annotations

import asyncio
import io
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from hosts.virt import ssh
from hosts.virt.carrying import Pipe, carry, find
from hosts.virt.driver import Driver
from hosts.virt.errors import InvalidState, NotFound, Unsupported, VirtError
from hosts.virt.fake import FakeDriver
from hosts.virt.libvirt import LibvirtDriver
from hosts.virt.spec import DiskSpec, DomainSpec, FilterSpec, MoveProgress, NicSpec, Power
from tests.hosts.contract import BOOT_IMAGE, MIB, wait_until

if TYPE_CHECKING:
    from tests.lab import Lab

MAC = "52:54:00:0a:0b:0c"


@dataclass(frozen=True)
class Pair:
    """Two hosts, a guest that runs on the first, and all that the second needs to have it."""

    here: Driver
    there: Driver
    address: str
    spec: DomainSpec

    def powers(self) -> tuple[Power, Power]:
        """What each of the two says of the guest."""
        seen = [driver.domain(self.spec.uuid) for driver in (self.here, self.there)]
        return tuple(one.power if one else Power.MISSING for one in seen)  # type: ignore[return-value]

    def move(self, **changes: object) -> None:
        wanted = {"address": self.address, "copied": ("vda",)}
        self.here.move(self.there, self.spec, **{**wanted, **changes})  # type: ignore[arg-type]


def prepare(driver: Driver, path: str, spec: DomainSpec) -> None:
    """What a guest needs before it is defined on a host."""
    driver.ensure_pool("moves", path)
    image = io.BytesIO(BOOT_IMAGE)
    size = len(BOOT_IMAGE)
    driver.upload_volume("moves", "base", image, length=size, format="raw", capacity_bytes=size)
    driver.create_overlay("moves", spec.disks[0].volume, base="base", capacity_bytes=64 * MIB)
    driver.write_volume("moves", spec.disks[1].volume, b"seed", capacity_bytes=MIB)
    (nic,) = spec.nics
    driver.ensure_filter(FilterSpec(nic.filter_name, spec.uuid, MAC, ("10.91.0.77",), ()))
    driver.define(spec)


def clear(driver: Driver, spec: DomainSpec) -> None:
    driver.destroy(spec.uuid)
    driver.undefine(spec.uuid)
    driver.delete_filter(spec.nics[0].filter_name)
    for volume in driver.volumes("moves"):
        driver.delete_volume("moves", volume.name)


def make_spec() -> DomainSpec:
    uuid = uuid4()
    return DomainSpec(
        uuid=uuid,
        name=f"vps-{uuid}",
        vcpus=1,
        memory_mib=32,
        disks=(
            DiskSpec("moves", f"vps-{uuid}-1.qcow2", "vda", "qcow2", boot_order=1),
            DiskSpec("moves", f"vps-{uuid}-seed.img", "vdb", "raw", readonly=True),
        ),
        nics=(NicSpec(MAC, bridge="br0", filter_name=f"vps-{uuid}"),),
        virt_type="qemu",
        metadata={"server": "17"},
    )


def typed(driver: Driver, spec: DomainSpec, key: bytes) -> bytes:
    """What the guest answers to a key: it echoes, as long as it runs."""

    async def ask() -> bytes:
        stream = await driver.open_serial(spec.uuid, force=True)
        try:
            await stream.write(key)
            async with asyncio.timeout(20):
                seen = b""
                while key not in seen:
                    seen += await stream.read()
                return seen
        finally:
            await stream.close()

    return asyncio.run(ask())


@pytest.fixture
def fakes(tmp_path: Path) -> Iterator[Pair]:
    spec = make_spec()
    uris = [f"fake:///{name}{uuid4().hex[:8]}?dir={tmp_path}&move_s=0.2" for name in ("a", "b")]
    here, there = FakeDriver(uris[0]), FakeDriver(uris[1])
    for driver in (here, there):
        prepare(driver, "/pool", spec)
    here.start(spec.uuid)
    yield Pair(here, there, "10.91.0.12", spec)
    here.close()
    there.close()


@pytest.fixture
def reals(lab: Lab) -> Iterator[Pair]:
    """Two hosts of the lab, with real guests, reached over SSH."""
    home = ssh.home()
    assert home is not None
    keys = {host.uri: ssh.ask_host_key(host.uri).public_key for host in lab.hosts[:2]}
    home.trust(f"{ssh.place_of(uri)} {key}" for uri, key in keys.items())
    spec = make_spec()
    here, there = (LibvirtDriver(host.uri) for host in lab.hosts[:2])
    for driver in (here, there):
        # The same place on both: the file of a disk names its base by its path.
        prepare(driver, "/var/lib/libvirt/moves", spec)
    here.start(spec.uuid)
    try:
        yield Pair(here, there, lab.hosts[1].address, spec)
    finally:
        for driver in (here, there):
            clear(driver, spec)
            driver.close()
        home.trust(())


def check_a_live_move(pair: Pair) -> None:
    """There and, from what it finds there, nothing left running here."""
    told: list[MoveProgress] = []
    pair.move(progress=told.append)
    assert pair.powers() == (Power.OFF, Power.RUNNING)
    here, there = (driver.domain(pair.spec.uuid) for driver in (pair.here, pair.there))
    assert here is not None
    assert there is not None
    assert (here.moved_away, there.moved_away, here.between, there.between) == (True, *[False] * 3)
    assert there.metadata == {"server": "17"}
    assert set(there.disks) == {f"moves/{disk.volume}" for disk in pair.spec.disks}
    assert told
    with pytest.raises(InvalidState):
        pair.move()


def check_a_move_that_is_called_off(pair: Pair, **slowly: object) -> None:
    """It stays where it is, whoever calls it off, and can be moved afterwards."""

    def enough(progress: MoveProgress) -> None:
        raise InterruptedError("not needed any more")

    with pytest.raises(InterruptedError):
        pair.move(progress=enough, **slowly)
    wait_until(lambda: pair.powers() == (Power.RUNNING, Power.OFF), 20, "it runs here alone")
    assert not pair.here.call_off_move(pair.spec.uuid)
    failed: list[VirtError] = []

    def move() -> None:
        try:
            pair.move(**slowly)
        except VirtError as error:
            failed.append(error)

    thread = threading.Thread(target=move)
    thread.start()
    wait_until(lambda: pair.here.call_off_move(pair.spec.uuid), 20, "somebody else calls it off")
    thread.join(30)
    assert len(failed) == 1
    wait_until(lambda: pair.powers() == (Power.RUNNING, Power.OFF), 20, "it runs here alone")


def check_what_cannot_be_moved(pair: Pair) -> None:
    stranger = replace(pair.spec, uuid=uuid4())
    with pytest.raises(NotFound):
        pair.here.move(pair.there, stranger, address=pair.address)
    pair.there.delete_volume("moves", pair.spec.disks[0].volume)
    with pytest.raises(NotFound):
        pair.move()
    assert pair.powers() == (Power.RUNNING, Power.OFF)
    pair.there.create_overlay(
        "moves", pair.spec.disks[0].volume, base="base", capacity_bytes=64 * MIB
    )
    pair.here.stay(pair.spec.uuid)  # it is not between: nothing happens
    assert pair.powers() == (Power.RUNNING, Power.OFF)


def check_a_disk_is_carried(pair: Pair) -> None:
    pair.here.destroy(pair.spec.uuid)
    with pytest.raises(InvalidState):
        pair.move()
    with pytest.raises(InvalidState):
        pair.here.stay(pair.spec.uuid)
    name = pair.spec.disks[0].volume
    pair.there.delete_volume("moves", name)
    told: list[int] = []
    carry(pair.here, pair.there, name, from_pool="moves", to_pool="moves", progress=told.append)
    here, there = (find(driver, "moves", name) for driver in (pair.here, pair.there))
    assert (there.capacity_bytes, there.format) == (64 * MIB, "qcow2")
    assert told[-1] == here.file_bytes == there.file_bytes


@pytest.mark.fake
def test_a_simulated_guest_moves(fakes: Pair) -> None:
    assert isinstance(fakes.here, FakeDriver)
    assert isinstance(fakes.there, FakeDriver)
    boots = fakes.here.guest_record(fakes.spec.uuid).boots
    check_what_cannot_be_moved(fakes)
    check_a_move_that_is_called_off(fakes)
    check_a_live_move(fakes)
    assert fakes.there.guest_record(fakes.spec.uuid).boots == boots


@pytest.mark.fake
def test_a_simulated_guest_is_left_between(fakes: Pair) -> None:
    """Whoever moved it is gone: where it goes on has to be said."""
    assert isinstance(fakes.here, FakeDriver)
    fakes.here.strand(fakes.spec.uuid)
    seen = fakes.here.domain(fakes.spec.uuid)
    assert seen is not None
    assert seen.between
    with pytest.raises(InvalidState):
        fakes.here.start(fakes.spec.uuid)
    fakes.here.stay(fakes.spec.uuid)
    assert fakes.powers() == (Power.RUNNING, Power.OFF)


@pytest.mark.fake
def test_a_simulated_disk_is_carried(fakes: Pair) -> None:
    check_a_disk_is_carried(fakes)


@pytest.mark.fake
def test_hosts_of_two_kinds(fakes: Pair) -> None:
    class Other:
        uri = "other:///host"

    with pytest.raises(Unsupported):
        fakes.here.move(Other(), fakes.spec, address="10.0.0.1")  # type: ignore[arg-type]


@pytest.mark.fake
def test_what_fails_on_one_side_ends_the_other(fakes: Pair) -> None:
    fakes.here.destroy(fakes.spec.uuid)
    name = fakes.spec.disks[0].volume
    assert isinstance(fakes.here, FakeDriver)
    fakes.there.delete_volume("moves", name)
    fakes.here.inject("download_volume", VirtError("broken here", code="broken"))
    with pytest.raises(VirtError, match="broken here"):
        carry(fakes.here, fakes.there, name, from_pool="moves", to_pool="moves")
    assert name not in {volume.name for volume in fakes.there.volumes("moves")}


def test_a_slow_line_is_kept_to() -> None:
    """Two MiB at one MiB a second take a second: what comes first does not wait."""
    pipe, began = Pipe(MIB), time.monotonic()
    for _ in range(3):
        pipe.write(bytes(MIB // 2))
    assert 0.9 < time.monotonic() - began < 5


@pytest.mark.lab
@pytest.mark.slow
def test_a_real_guest_moves(reals: Pair) -> None:
    """It echoes before and after, and "ready", which it says when it boots, is not said again."""
    wait_until(lambda: b"ready" in reals.here.serial_log(reals.spec.uuid, 1000), 30, "it booted")
    assert b"k" in typed(reals.here, reals.spec, b"k")
    check_what_cannot_be_moved(reals)
    check_a_move_that_is_called_off(reals, bandwidth_mib=1)
    check_a_live_move(reals)
    assert b"m" in typed(reals.there, reals.spec, b"m")
    assert b"ready" not in reals.there.serial_log(reals.spec.uuid, 1000)
    assert reals.here.undefine(reals.spec.uuid)
    assert reals.there.domain(reals.spec.uuid) is not None


@pytest.mark.lab
@pytest.mark.slow
def test_a_real_disk_is_carried(reals: Pair) -> None:
    check_a_disk_is_carried(reals)
    reals.there.start(reals.spec.uuid)
    wait_until(lambda: b"ready" in reals.there.serial_log(reals.spec.uuid, 1000), 30, "it booted")
