"""The serial console from the browser's socket to a simulated guest."""

from __future__ import annotations

import statistics
import time
from datetime import timedelta

import pytest
from django.utils import timezone

from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel
from vpspanel.events.models import Event


@pytest.mark.both_databases
def test_typing_reaches_the_guest_and_its_answer_comes_back(panel: Panel, world: World) -> None:
    """The whole way, and both ends of it in the timeline that the customer reads."""
    terminal = Browser(panel, world.alice).console(world.server.pk)
    terminal.login()
    terminal.type("uname -a\r")
    answer = terminal.until_output(b"(simulated)")
    assert b"Linux vps-" in answer
    terminal.close()
    _wait_for_event("console.closed")
    events = Event.objects.filter(resource_type="server", resource_id=world.server.pk, public=True)
    assert list(events.order_by("id").values_list("kind", "actor_name")) == [
        ("console.opened", "alice@example.com"),
        ("console.closed", "alice@example.com"),
    ]


def test_echo_is_quick(panel: Panel, world: World) -> None:
    """A person feels an echo above some 50 ms; the panel's own part must be far below."""
    terminal = Browser(panel, world.alice).console(world.server.pk)
    terminal.login()
    times = []
    for number in range(300):
        key = "abcdefghij"[number % 10]
        started = time.perf_counter()
        terminal.type(key)
        terminal.until_output(key.encode())
        times.append((time.perf_counter() - started) * 1000)
        if number % 50 == 49:
            terminal.type("\x15")
            terminal.until_output(b"\b \b" * 50)
    times.sort()
    print(f"echo p50 {statistics.median(times):.2f} ms, p99 {times[-3]:.2f} ms")
    assert statistics.median(times) < 20
    terminal.close()


def test_console_waits_for_a_server_that_is_off_and_opens_when_it_starts(
    panel: Panel, world: World
) -> None:
    server = world.add_server(world.project, "sleeper", running=False)
    terminal = Browser(panel, world.alice).console(server.pk)
    terminal.until_state("stopped")
    world.driver.start(server.uuid)
    terminal.until_state("connected", timeout=5)
    terminal.until_output(b"login: ")
    terminal.close()


def test_console_comes_back_by_itself_after_the_guest_stops_and_starts(
    panel: Panel, world: World
) -> None:
    terminal = Browser(panel, world.alice).console(world.server.pk)
    terminal.login()
    world.driver.destroy(world.server.uuid)
    terminal.until_state("stopped", timeout=5)
    world.driver.start(world.server.uuid)
    terminal.until_state("connected", timeout=10)
    terminal.until_output(b"login: ")
    terminal.close()


def test_console_says_that_the_host_does_not_answer(panel: Panel, world: World) -> None:
    world.driver.set_reachable(False)
    terminal = Browser(panel, world.alice).console(world.server.pk)
    terminal.until_state("unreachable")
    world.driver.set_reachable(True)
    terminal.until_state("connected", timeout=10)
    terminal.close()


def test_reader_watches_and_no_key_passes(panel: Panel, world: World) -> None:
    reader = Browser(panel, world.rita).console(world.server.pk)
    assert reader.until_state("connected")["types"] is False
    reader.until_output(b"login: ")
    reader.type("touched\r")
    assert "may watch, not type" in reader.until_notice()
    reader.listen(1)
    assert b"touched" not in reader.output
    reader.close()


def test_closing_frees_the_console_for_others_at_once(panel: Panel, world: World) -> None:
    first = Browser(panel, world.alice).console(world.server.pk)
    first.login()
    first.close()
    time.sleep(0.3)
    second = Browser(panel, world.olga).console(world.server.pk)
    second.until_state("connected", timeout=2)
    assert "busy" not in second.states
    second.close()


def test_bytes_of_two_consoles_never_mix(panel: Panel, world: World) -> None:
    mine = Browser(panel, world.alice).console(world.server.pk)
    theirs = Browser(panel, world.mallory).console(world.foreign.pk)
    mine.login()
    theirs.login()
    mine.type("yes ALICE\r")
    theirs.type("yes MALLORY\r")
    for _ in range(200):
        mine.step(5)
        theirs.step(5)
    assert mine.output.count(b"ALICE") > 1000
    assert theirs.output.count(b"MALLORY") > 1000
    assert b"MALLORY" not in mine.output
    assert b"ALICE" not in theirs.output
    mine.close()
    theirs.close()


def _wait_for_event(kind: str, timeout: float = 5) -> Event:
    deadline = timezone.now() + timedelta(seconds=timeout)
    while timezone.now() < deadline:
        event = Event.objects.filter(kind=kind).first()
        if event is not None:
            return event
        time.sleep(0.05)
    raise AssertionError(f"no {kind} within {timeout} s")
