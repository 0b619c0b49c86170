"""One simulated host in several processes, some of which are killed."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from hosts.virt.errors import ConsoleBusy, DiskFull, InvalidState
from hosts.virt.fake import FakeDriver, Fault
from hosts.virt.spec import DomainEvent, DomainSpec, EventKind, Power
from tests.hosts.contract import wait_until

SPAWN = multiprocessing.get_context("spawn")


def uri_for(directory: Path) -> str:
    return f"fake:///shared?dir={directory}&shutdown_s=0.2"


def spec_for(uuid: UUID, name: str) -> DomainSpec:
    return DomainSpec(
        uuid=uuid,
        name=name,
        vcpus=1,
        memory_mib=64,
        disks=(),
        nics=(),
        virt_type="kvm",
        metadata={"server": name},
    )


def elsewhere(target: Callable[..., None], *args: Any) -> BaseProcess:
    """Run `target` in a process of its own that has nothing of ours."""
    process = SPAWN.Process(target=target, args=args)
    process.start()
    return process


def ended(process: BaseProcess, seconds: float = 30) -> int | None:
    process.join(seconds)
    return process.exitcode


# --- what runs in the other processes ---------------------------------------------


def define_many(uri: str, prefix: str, count: int) -> None:
    driver = FakeDriver(uri)
    for number in range(count):
        uuid = uuid4()
        driver.define(spec_for(uuid, f"{prefix}-{number}"))
        driver.start(uuid)
    driver.close()


def write_without_end(uri: str) -> None:
    driver = FakeDriver(uri)
    driver.ensure_pool("pool", "/var/lib/vps")
    number = 0
    while True:
        number += 1
        uuid = uuid4()
        driver.define(spec_for(uuid, f"guest-{os.getpid()}-{number}"))
        driver.start(uuid)
        driver.write_volume("pool", f"seed-{number % 20}", b"x" * 5000, capacity_bytes=5000)
        driver.destroy(uuid)


def start_one(uri: str, uuid: UUID) -> None:
    FakeDriver(uri).start(uuid)


def shut_down_and_die(uri: str, uuid: UUID) -> None:
    FakeDriver(uri).shutdown(uuid)
    os.kill(os.getpid(), signal.SIGKILL)


def hold_console(uri: str, uuid: UUID, held: Any) -> None:
    async def hold() -> None:
        await FakeDriver(uri).open_serial(uuid)
        held.set()
        await asyncio.sleep(60)

    asyncio.run(hold())


# --- the tests --------------------------------------------------------------------


def test_processes_see_one_host(tmp_path: Path) -> None:
    uri = uri_for(tmp_path)
    writers = [elsewhere(define_many, uri, f"w{number}", 25) for number in range(4)]
    assert [ended(writer) for writer in writers] == [0, 0, 0, 0]
    driver = FakeDriver(uri)
    domains = driver.domains()
    assert len(domains) == 100
    assert {domain.power for domain in domains} == {Power.RUNNING}
    assert {call.pid for call in driver.call_log("start")} == {writer.pid for writer in writers}
    started = [event for event in driver.event_log() if event.kind is EventKind.STARTED]
    assert len(started) == 100


def test_watch_hears_other_processes_soon(tmp_path: Path) -> None:
    uri = uri_for(tmp_path)
    driver = FakeDriver(uri)
    uuid = uuid4()
    driver.define(spec_for(uuid, "guest"))
    heard: list[tuple[DomainEvent, float]] = []
    stop = driver.watch(lambda event: heard.append((event, time.time())))
    assert ended(elsewhere(start_one, uri, uuid)) == 0
    wait_until(lambda: heard and heard[-1][0].kind is EventKind.STARTED, 5, "heard")
    event, at = heard[-1]
    assert event.uuid == uuid
    assert at - event.at.timestamp() < 0.5  # 100 ms, and room for a busy machine
    stop()
    driver.close()


def test_faults_reach_other_processes(tmp_path: Path) -> None:
    uri = uri_for(tmp_path)
    driver = FakeDriver(uri)
    uuid = uuid4()
    driver.define(spec_for(uuid, "guest"))
    driver.inject("start", DiskFull)
    assert ended(elsewhere(start_one, uri, uuid)) == 1
    assert [call.outcome for call in driver.call_log("start")] == ["disk_full"]
    assert driver.domain(uuid).power is Power.OFF  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("fault", "power"), [(Fault.KILL, Power.OFF), (Fault.KILL_AFTER, Power.RUNNING)]
)
def test_a_process_can_be_killed_before_or_after_an_effect(
    tmp_path: Path, fault: Fault, power: Power
) -> None:
    uri = uri_for(tmp_path)
    driver = FakeDriver(uri)
    uuid = uuid4()
    driver.define(spec_for(uuid, "guest"))
    driver.inject("start", fault)
    assert ended(elsewhere(start_one, uri, uuid)) == -signal.SIGKILL
    assert driver.domain(uuid).power is power  # type: ignore[union-attr]
    assert [call.outcome for call in driver.call_log("start")] == [""]


def test_what_a_guest_was_asked_happens_though_the_asker_is_dead(tmp_path: Path) -> None:
    uri = uri_for(tmp_path)
    driver = FakeDriver(uri)
    uuid = uuid4()
    driver.define(spec_for(uuid, "guest"))
    driver.start(uuid)
    assert ended(elsewhere(shut_down_and_die, uri, uuid)) == -signal.SIGKILL
    wait_until(lambda: driver.domain(uuid).power is Power.OFF, 5, "off")  # type: ignore[union-attr]
    assert driver.event_log()[-1].detail == "shutdown"


def test_sigkill_during_writes_leaves_a_state_that_can_be_read(tmp_path: Path) -> None:
    uri = uri_for(tmp_path)
    for round_number in range(8):
        writers = [elsewhere(write_without_end, uri) for _ in range(2)]
        time.sleep(0.5 + round_number * 0.037)
        for writer in writers:
            writer.kill()
            assert ended(writer) == -signal.SIGKILL
        driver = FakeDriver(uri)
        for domain in driver.domains():
            assert domain.power in (Power.OFF, Power.RUNNING)
            assert domain.metadata == {"server": domain.name}
        driver.define(spec_for(uuid4(), f"after-{round_number}"))
        driver.close()
    check = sqlite3.connect(tmp_path / "shared.sqlite3")
    assert check.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    check.close()


def test_effect_and_event_are_one_write(tmp_path: Path) -> None:
    """However often a writer is killed, each running guest has exactly one STARTED event."""
    uri = uri_for(tmp_path)
    writer = elsewhere(write_without_end, uri)
    time.sleep(1)
    writer.kill()
    assert ended(writer) == -signal.SIGKILL
    driver = FakeDriver(uri)
    kinds: dict[UUID | None, list[EventKind]] = {}
    for event in driver.event_log():
        kinds.setdefault(event.uuid, []).append(event.kind)
    domains = driver.domains()
    assert len(domains) > 5
    life = [EventKind.DEFINED, EventKind.STARTED, EventKind.STOPPED]
    for domain in domains:
        told = kinds[domain.uuid]
        assert told == life[: len(told)]
        assert (told[-1] is EventKind.STARTED) == (domain.power is Power.RUNNING)


async def test_a_killed_holder_frees_the_console(tmp_path: Path) -> None:
    uri = uri_for(tmp_path)
    driver = FakeDriver(uri)
    uuid = uuid4()
    driver.define(spec_for(uuid, "guest"))
    driver.start(uuid)
    held = SPAWN.Event()
    holder = elsewhere(hold_console, uri, uuid, held)
    assert held.wait(20)
    with pytest.raises(ConsoleBusy):
        await driver.open_serial(uuid)
    holder.kill()
    ended(holder)
    stream = await driver.open_serial(uuid)
    await stream.close()


def test_a_forked_process_gets_a_connection_of_its_own(tmp_path: Path) -> None:
    driver = FakeDriver(uri_for(tmp_path))
    uuid = uuid4()
    driver.define(spec_for(uuid, "guest"))
    child = multiprocessing.get_context("fork").Process(target=driver.start, args=(uuid,))
    child.start()
    assert ended(child) == 0
    assert driver.domain(uuid).power is Power.RUNNING  # type: ignore[union-attr]
    with pytest.raises(InvalidState):
        driver.undefine(uuid)
