"""The driver contract: domains, from definition to statistics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from hosts.virt.driver import Driver
from hosts.virt.errors import (
    AgentUnavailable,
    AlreadyExists,
    ForeignObject,
    InvalidState,
    NotFound,
    VirtError,
)
from hosts.virt.spec import Power
from tests.hosts.contract import ContractHost, on_hosts_with, wait_until

HOSTILE = "<script>alert('x')</script> &amp; \"quotes\" ]]> \u202etxt {{7*7}}"


def is_running(host: ContractHost, uuid: UUID) -> bool:
    return host.power(uuid) is Power.RUNNING


# --- define, look, undefine -----------------------------------------------------


@on_hosts_with("define")
def test_define_makes_the_domain_that_the_spec_describes(host: ContractHost) -> None:
    spec = host.spec()
    seen = host.driver.define(spec)
    assert seen == host.driver.domain(spec.uuid)
    assert (seen.uuid, seen.name, seen.power) == (spec.uuid, spec.name, Power.OFF)
    assert seen.ours
    assert not seen.phantom
    assert seen.metadata == {"server": "17", "project": "4"}
    assert seen.disks == tuple(f"{disk.pool}/{disk.volume}" for disk in spec.disks)


@on_hosts_with("define")
def test_define_again_changes_the_definition(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    seen = host.driver.define(replace(spec, vcpus=2, metadata={"server": "18"}))
    assert seen.metadata == {"server": "18"}
    assert len([d for d in host.driver.domains() if d.uuid == spec.uuid]) == 1
    host.driver.start(spec.uuid)
    assert host.running_vcpus(spec.uuid) == 2


@on_hosts_with("define")
def test_a_running_guest_keeps_its_definition_until_it_is_next_started(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    host.driver.start(spec.uuid)
    host.driver.define(replace(spec, vcpus=2))
    assert is_running(host, spec.uuid)
    assert host.running_vcpus(spec.uuid) == 1
    host.driver.destroy(spec.uuid)
    host.driver.start(spec.uuid)
    assert host.running_vcpus(spec.uuid) == 2


@on_hosts_with("define")
def test_customer_text_is_text(host: ContractHost) -> None:
    spec = host.spec(title=HOSTILE, metadata={"server": HOSTILE})
    assert host.driver.define(spec).metadata == {"server": HOSTILE}


@on_hosts_with("define")
@pytest.mark.parametrize(
    "change",
    [{"vcpus": 0}, {"memory_mib": 0}, {"virt_type": "lxc"}, {"name": "a/../b"}, {"title": "a\0b"}],
    ids=lambda change: next(iter(change)),
)
def test_what_is_no_valid_definition_is_refused(
    host: ContractHost, change: dict[str, object]
) -> None:
    spec = replace(host.spec(), **change)  # type: ignore[arg-type]
    with pytest.raises((ValueError, VirtError)):
        host.driver.define(spec)
    assert host.driver.domain(spec.uuid) is None


@on_hosts_with("define")
def test_define_refuses_a_name_that_is_taken(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    with pytest.raises(AlreadyExists):
        host.driver.define(replace(spec, uuid=uuid4()))
    assert host.driver.domain(spec.uuid) is not None


@on_hosts_with("define", "ensure_filter")
def test_a_guest_does_not_run_without_its_filter(host: ContractHost) -> None:
    spec = host.spec()
    spec = replace(spec, nics=(replace(spec.nics[0], filter_name="vps-missing"),))

    def define_and_start() -> None:
        host.driver.define(spec)
        host.driver.start(spec.uuid)

    with pytest.raises(VirtError):
        define_and_start()
    assert not is_running(host, spec.uuid)


@on_hosts_with("domain")
def test_an_unknown_domain_is_none(host: ContractHost) -> None:
    assert host.driver.domain(uuid4()) is None


@on_hosts_with("domains")
def test_domains_lists_ours_and_foreign_ones(host: ContractHost) -> None:
    foreign = host.add_foreign_domain()
    spec = host.spec()
    host.driver.define(spec)
    seen = {domain.uuid: domain for domain in host.driver.domains()}
    assert seen[spec.uuid] == host.driver.domain(spec.uuid)
    assert seen[spec.uuid].ours
    assert not seen[foreign].ours
    assert seen[foreign].name == host.name("foreign")


@on_hosts_with("undefine", "upload_volume")
def test_undefine_takes_the_domain_and_no_disk(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    assert host.driver.undefine(spec.uuid) is True
    assert host.driver.undefine(spec.uuid) is False
    assert host.driver.domain(spec.uuid) is None
    volumes = {volume.name for volume in host.driver.volumes(host.pool)}
    assert {disk.volume for disk in spec.disks} <= volumes


@on_hosts_with("undefine", "open_serial")
def test_undefine_takes_everything_beside_the_definition_with_it(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    host.leave_traces(spec.uuid)
    assert host.driver.undefine(spec.uuid) is True
    assert host.driver.domain(spec.uuid) is None


@on_hosts_with("undefine")
def test_undefine_says_whether_it_was_defined(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    assert host.driver.undefine(spec.uuid) is True
    assert host.driver.undefine(spec.uuid) is False


@on_hosts_with("undefine")
def test_a_running_guest_is_not_undefined(host: ContractHost) -> None:
    uuid = host.running()
    with pytest.raises(InvalidState):
        host.driver.undefine(uuid)
    assert is_running(host, uuid)


# --- foreign domains --------------------------------------------------------------


@on_hosts_with("define")
def test_define_never_takes_a_foreign_domain_over(host: ContractHost) -> None:
    foreign = host.add_foreign_domain()
    with pytest.raises(ForeignObject):
        host.driver.define(host.spec(uuid=foreign))
    host.forget(foreign)
    seen = host.driver.domain(foreign)
    assert seen is not None
    assert (seen.name, seen.ours) == (host.name("foreign"), False)


@on_hosts_with("start")
@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
@pytest.mark.parametrize(
    "call",
    [
        Driver.undefine,
        Driver.start,
        Driver.shutdown,
        Driver.destroy,
        Driver.reboot,
        Driver.reset,
        lambda driver, uuid: driver.set_password(uuid, "root", "secret"),
    ],
    ids=["undefine", "start", "shutdown", "destroy", "reboot", "reset", "set_password"],
)
def test_a_foreign_domain_is_never_touched(
    host: ContractHost, call: Callable[[Driver, UUID], object], running: bool
) -> None:
    foreign = host.add_foreign_domain(running=running)
    before = host.driver.domain(foreign)
    name = getattr(call, "__name__", "")
    bound = getattr(host.driver, name, None)
    with pytest.raises(ForeignObject):
        bound(foreign) if bound else call(host.driver, foreign)
    if running:
        time.sleep(0.3)  # a guest that was asked to power off would do it now
    assert host.driver.domain(foreign) == before


# --- power --------------------------------------------------------------------------


@on_hosts_with("start")
def test_start_runs_the_guest_and_then_does_nothing(host: ContractHost) -> None:
    uuid = host.running()
    assert is_running(host, uuid)
    host.driver.start(uuid)
    assert is_running(host, uuid)


@on_hosts_with("start")
def test_start_lets_a_paused_guest_go_on(host: ContractHost) -> None:
    uuid = host.running()
    host.pause(uuid)
    assert host.power(uuid) is Power.PAUSED
    host.driver.start(uuid)
    assert is_running(host, uuid)


@on_hosts_with("start", "upload_volume")
def test_a_guest_without_its_disk_does_not_start(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    host.driver.delete_volume(host.pool, spec.disks[0].volume)
    with pytest.raises(VirtError):
        host.driver.start(spec.uuid)
    assert host.power(spec.uuid) is Power.OFF


@on_hosts_with("start")
@pytest.mark.parametrize("call", ["start", "shutdown", "reboot", "reset"])
def test_what_is_unknown_is_not_found(host: ContractHost, call: str) -> None:
    with pytest.raises(NotFound):
        getattr(host.driver, call)(uuid4())


@on_hosts_with("shutdown")
def test_shutdown_asks_the_guest_and_returns_at_once(host: ContractHost) -> None:
    uuid = host.booted()
    started = time.monotonic()
    host.driver.shutdown(uuid)
    assert time.monotonic() - started < 2
    host.wait_power(uuid, Power.OFF)


@on_hosts_with("shutdown")
def test_shutdown_of_what_is_off_does_nothing(host: ContractHost) -> None:
    spec = host.spec()
    host.driver.define(spec)
    host.driver.shutdown(spec.uuid)
    assert host.power(spec.uuid) is Power.OFF


@on_hosts_with("destroy")
def test_destroy_turns_the_guest_off_and_then_does_nothing(host: ContractHost) -> None:
    uuid = host.running()
    host.driver.destroy(uuid)
    assert host.power(uuid) is Power.OFF
    host.driver.destroy(uuid)
    assert host.power(uuid) is Power.OFF
    host.driver.destroy(uuid4())


@on_hosts_with("destroy")
def test_destroy_turns_a_paused_guest_off(host: ContractHost) -> None:
    uuid = host.running()
    host.pause(uuid)
    host.driver.destroy(uuid)
    assert host.power(uuid) is Power.OFF


@on_hosts_with("reboot")
@pytest.mark.parametrize("call", ["reboot", "reset"])
def test_what_is_off_cannot_be_rebooted(host: ContractHost, call: str) -> None:
    spec = host.spec()
    host.driver.define(spec)
    with pytest.raises(InvalidState):
        getattr(host.driver, call)(spec.uuid)
    assert host.power(spec.uuid) is Power.OFF


@on_hosts_with("reboot")
@pytest.mark.parametrize("call", ["reboot", "reset"])
def test_reboot_and_reset_leave_the_guest_running(host: ContractHost, call: str) -> None:
    uuid = host.booted()
    started = time.monotonic()
    getattr(host.driver, call)(uuid)
    assert time.monotonic() - started < 2
    time.sleep(0.5)
    host.wait_power(uuid, Power.RUNNING)


# --- agent and statistics -------------------------------------------------------------


@on_hosts_with("set_password", "open_serial")
@pytest.mark.parametrize("running", [False, True], ids=["off", "running"])
def test_without_an_agent_no_password_is_set(host: ContractHost, running: bool) -> None:
    uuid = host.running() if running else host.driver.define(host.spec()).uuid
    with pytest.raises(AgentUnavailable):
        host.driver.set_password(uuid, "root", "secret")


@on_hosts_with("stats")
def test_stats_are_of_all_running_guests_and_no_others(host: ContractHost) -> None:
    foreign = host.add_foreign_domain(running=True)
    running = host.running("one")
    off = host.driver.define(host.spec("two")).uuid
    stats = {one.uuid: one for one in host.driver.stats()}
    assert {running, foreign} <= set(stats)
    assert off not in stats
    assert stats[running].power is Power.RUNNING


@on_hosts_with("stats", "upload_volume")
def test_counters_count(host: ContractHost) -> None:
    uuid = host.running()

    def counters() -> tuple[int, int, int, int]:
        (seen,) = [one for one in host.driver.stats() if one.uuid == uuid]
        return (
            seen.cpu_time_ns or 0,
            seen.disk_read_bytes or 0,
            seen.disk_read_requests or 0,
            seen.memory_mib or 0,
        )

    wait_until(lambda: all(counters()), 20, "every counter moves")
    first = counters()
    wait_until(lambda: counters()[0] > first[0], 20, "the processor time grows")
    assert counters()[1] >= first[1]


@on_hosts_with("load", "upload_volume")
def test_the_hosts_own_counters_count(host: ContractHost) -> None:
    first = host.driver.load()
    assert first.memory_total_mib is not None
    assert first.memory_used_mib is not None
    assert 0 <= first.memory_used_mib <= first.memory_total_mib

    def grown() -> bool:
        last = host.driver.load()
        return (last.cpu_idle_ns or 0) + (last.cpu_busy_ns or 0) > (first.cpu_idle_ns or 0) + (
            first.cpu_busy_ns or 0
        )

    wait_until(grown, 20, "time passes")


# --- several at once --------------------------------------------------------------------


@on_hosts_with("define")
def test_a_driver_can_be_used_from_several_threads(host: ContractHost) -> None:
    specs = [host.spec(f"t{number}") for number in range(6)]
    failures: list[BaseException] = []

    def live(index: int) -> None:
        try:
            host.driver.define(specs[index])
            host.driver.start(specs[index].uuid)
            host.driver.domains()
            host.driver.stats()
            host.driver.destroy(specs[index].uuid)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=live, args=(index,)) for index in range(len(specs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert failures == []
    seen = {domain.uuid: domain.power for domain in host.driver.domains()}
    assert [seen[spec.uuid] for spec in specs] == [Power.OFF] * len(specs)
