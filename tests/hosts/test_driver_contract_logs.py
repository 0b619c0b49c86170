"""The driver contract: what guests wrote to their serial ports while nobody looked."""

from __future__ import annotations

from uuid import uuid4

import pytest

from hosts.virt.errors import NotFound
from tests.hosts.contract import KIB, ContractHost, on_hosts_with, wait_until


@on_hosts_with("serial_log")
def test_the_log_has_what_a_guest_wrote_with_nobody_attached(host: ContractHost) -> None:
    uuid = host.booted()
    wait_until(lambda: host.ready in host.driver.serial_log(uuid, 64 * KIB), 20, "it is logged")
    assert uuid in host.driver.serial_logs()
    whole = host.driver.serial_log(uuid, 64 * KIB)
    assert host.driver.serial_log(uuid, 4) == whole[-4:]


@on_hosts_with("serial_log")
def test_the_log_outlives_a_stop_and_goes_on(host: ContractHost) -> None:
    uuid = host.booted()
    host.driver.destroy(uuid)
    assert host.driver.serial_log(uuid, 64 * KIB).count(host.ready) == 1
    host.driver.start(uuid)
    host.wait_ready(uuid)
    wait_until(
        lambda: host.driver.serial_log(uuid, 64 * KIB).count(host.ready) == 2, 20, "both are there"
    )


@on_hosts_with("serial_log")
def test_the_log_goes_with_the_guest(host: ContractHost) -> None:
    uuid = host.booted()
    host.driver.destroy(uuid)
    host.driver.undefine(uuid)
    assert uuid not in host.driver.serial_logs()
    assert not host.driver.delete_serial_log(uuid)
    with pytest.raises(NotFound):
        host.driver.serial_log(uuid, 10)


@on_hosts_with("serial_log")
def test_a_guest_that_never_ran_has_written_nothing(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    assert host.driver.serial_log(spec.uuid, 10) == b""
    with pytest.raises(NotFound):
        host.driver.serial_log(uuid4(), 10)


@on_hosts_with("serial_log")
def test_a_log_whose_guest_is_gone_is_listed_and_deleted(host: ContractHost) -> None:
    uuid = host.booted()
    host.driver.destroy(uuid)
    host.undefine_behind_its_back(uuid)
    assert uuid in host.driver.serial_logs()
    assert host.driver.delete_serial_log(uuid)
    assert uuid not in host.driver.serial_logs()


@pytest.mark.qemu
@pytest.mark.parametrize("host", ["qemu"], indirect=True)
async def test_the_log_of_a_guest_that_floods_stays_short(host: ContractHost) -> None:
    """The host keeps two files of 256 KiB; the newest bytes are read across both."""
    uuid = host.booted()
    stream = await host.driver.open_serial(uuid)
    await host.flood(stream)
    total = 0
    while total < 700 * KIB:
        total += len(await stream.read())
    await stream.close()
    host.driver.destroy(uuid)
    kept = host.driver.serial_log(uuid, 2048 * KIB)
    assert 256 * KIB <= len(kept) <= 512 * KIB
    assert host.driver.serial_log(uuid, 300 * KIB) == kept[-300 * KIB :]
    assert len(host.driver.serial_log(uuid, 300 * KIB)) == 300 * KIB or len(kept) < 300 * KIB
    host.driver.undefine(uuid)
    assert uuid not in host.driver.serial_logs()
