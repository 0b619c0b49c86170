"""Several people at one serial console: one types, others watch, and all of them know."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.consoles.browsing import ROWS, connected, login, open_console
from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, Terminal, running
from tests.hosts.contract import wait_until
from vpspanel.accounts.models import Member, Role
from vpspanel.events.models import Event
from vpspanel.events.services import record_event


def sit_down(panel: Panel, world: World) -> Terminal:
    """Alice has the console and has logged in."""
    first = Browser(panel, world.alice).console(world.server.pk)
    first.login()
    return first


def others(terminal: Terminal, wanted: list[tuple[str, bool]], seconds: float = 5) -> None:
    """Go on until the page is told that these are here as well, and who of them types."""
    expected = [{"name": f"{name}@example.com", "types": types} for name, types in wanted]
    end = time.monotonic() + seconds
    while not any(message.get("others") == expected for message in terminal.messages):
        terminal.step(max(0.01, end - time.monotonic()))
    terminal.messages.clear()


def test_second_viewer_is_asked_and_takes_over(panel: Panel, world: World) -> None:
    first = sit_down(panel, world)
    second = Browser(panel, world.olga).console(world.server.pk)
    asked = second.until_state("busy")
    assert "alice@example.com has this console open" in asked["message"]
    assert asked["types"] is True
    second.send_json({"type": "take"})
    second.until_state("connected")
    assert "olga@example.com" in first.until_state("taken")["message"]
    second.type("\r")
    second.until_output(b"# ")
    first.type("lost")  # goes nowhere
    assert "Take the console over" in first.until_notice()
    first.send_json({"type": "take"})
    first.until_state("connected")
    assert "alice@example.com" in second.until_state("taken")["message"]
    first.type("echo mine\r")
    second.until_output(b"mine\r\n")  # who lost the keyboard still sees
    first.close()
    second.close()


def test_who_is_asked_sees_nothing_before_the_answer(panel: Panel, world: World) -> None:
    first = sit_down(panel, world)
    first.type("echo before\r")
    first.until_output(b"before\r\n")
    second = Browser(panel, world.olga).console(world.server.pk)
    second.until_state("busy")
    first.type("echo during\r")
    first.until_output(b"during\r\n")
    second.listen(0.5)
    assert second.output == b""
    second.send_json({"type": "watch"})
    assert "alice@example.com types" in second.until_state("watching")["message"]
    seen = second.until_output(b"during\r\n")
    assert b"before\r\n" in seen
    first.type("echo after\r")
    second.until_output(b"after\r\n")
    first.close()
    second.close()


def test_a_watcher_types_nothing_and_both_know_of_each_other(panel: Panel, world: World) -> None:
    first = sit_down(panel, world)
    second = Browser(panel, world.olga).console(world.server.pk)
    second.until_state("busy")
    second.send_json({"type": "watch"})
    others(second, [("alice", True)])
    others(first, [("olga", False)])
    second.type("touched")
    second.until_notice()
    first.listen(0.5)
    assert b"touched" not in first.output
    second.close()
    others(first, [])
    events = Event.objects.filter(resource_id=world.server.pk, public=True).order_by("id")
    left = events.filter(kind="console.closed", actor=world.olga)
    wait_until(left.exists, 5, "it is recorded")
    assert list(events.values_list("message", flat=True)) == [
        "alice@example.com opened the serial console",
        "olga@example.com watches the serial console",
        "olga@example.com left the serial console",
    ]
    first.close()


def test_reader_watches_at_once_and_cannot_take_over(panel: Panel, world: World) -> None:
    first = sit_down(panel, world)
    reader = Browser(panel, world.rita).console(world.server.pk)
    assert reader.until_state("watching")["types"] is False
    reader.send_json({"type": "take"})
    first.type("echo mine\r")
    reader.until_output(b"mine\r\n")
    first.listen(0.3)
    assert "taken" not in first.states
    first.close()
    reader.until_state("connected", timeout=5)  # nobody types; he sees on
    reader.close()


def test_who_may_type_needs_no_leave_of_a_reader(panel: Panel, world: World) -> None:
    reader = Browser(panel, world.rita).console(world.server.pk)
    reader.until_state("connected")
    first = sit_down(panel, world)
    assert "busy" not in first.states
    reader.until_state("watching")
    first.close()
    reader.close()


def test_when_the_holder_leaves_the_next_who_may_type_is_told(panel: Panel, world: World) -> None:
    first = sit_down(panel, world)
    reader = Browser(panel, world.rita).console(world.server.pk)
    reader.until_state("watching")
    second = Browser(panel, world.olga).console(world.server.pk)
    second.until_state("busy")
    second.send_json({"type": "watch"})
    second.until_state("watching")
    first.close()
    second.until_state("connected", timeout=5)
    assert second.until_notice() == "alice@example.com left. You can type now."
    second.type("echo mine\r")
    reader.until_output(b"mine\r\n")
    second.close()
    reader.close()


def test_the_holder_stays_the_holder_when_the_guest_starts_again(
    panel: Panel, world: World
) -> None:
    first = sit_down(panel, world)
    second = Browser(panel, world.olga).console(world.server.pk)
    second.until_state("busy")
    second.send_json({"type": "watch"})
    second.until_state("watching")
    world.driver.destroy(world.server.uuid)
    first.until_state("stopped", timeout=5)
    second.until_state("stopped", timeout=5)
    world.driver.start(world.server.uuid)
    first.until_state("connected", timeout=10)
    second.until_state("watching", timeout=10)
    first.until_output(b"login: ")
    second.until_output(b"login: ")
    first.close()
    second.close()


def test_another_tab_of_the_same_person_needs_no_question(panel: Panel, world: World) -> None:
    browser = Browser(panel, world.alice)
    first = browser.console(world.server.pk)
    first.login()
    second = browser.console(world.server.pk)
    second.until_state("connected")
    assert "busy" not in second.states
    first.until_state("taken")
    second.close()
    first.close()


def test_a_holder_who_may_only_watch_from_now_on_lets_go(panel: Panel, world: World) -> None:
    holder = Browser(panel, world.olga).console(world.server.pk)
    holder.login()
    waiting = Browser(panel, world.alice).console(world.server.pk)
    waiting.until_state("busy")
    Member.objects.filter(user=world.olga).update(role=Role.READER)
    waiting.until_state("connected", timeout=5)
    assert holder.until_state("watching", timeout=5)["types"] is False
    waiting.close()
    holder.close()


def test_what_a_page_has_shown_already_is_not_sent_again(panel: Panel, world: World) -> None:
    first = sit_down(panel, world)
    browser = Browser(panel, world.rita)
    for again in (False, True):
        reader = Terminal(browser.connect(f"/ws/console/serial/{world.server.pk}/"))
        ticket = browser.ticket(world.server.pk)
        reader.send_json({"type": "hello", "ticket": ticket, "acks": True, "again": again})
        reader.until_state("watching")
        reader.listen(0.5)
        assert (b"login: " in reader.output) is not again
        assert any(message["type"] == "past" for message in reader.messages) is not again
        reader.close()
    first.close()


def test_a_watcher_that_stalls_slows_nobody(panel: Panel, world: World) -> None:
    first = sit_down(panel, world)
    browser = Browser(panel, world.rita)
    stalled = browser.console(world.server.pk, max_queue=1)
    stalled.until_state("watching")
    first.type("yes flood\r")
    got = 0
    end = time.monotonic() + 20
    while got < 4 * 1024 * 1024:
        first.step(max(0.01, end - time.monotonic()))
        got += len(first.output)
        first.output = b""
    stalled.socket.socket.close()
    first.close()


def test_a_console_that_another_process_holds_is_said_and_taken(
    panel: Panel, world: World, tmp_path: Path
) -> None:
    first = sit_down(panel, world)
    with running(tmp_path) as elsewhere:
        second = Browser(elsewhere, world.olga).console(world.server.pk)
        assert "Somebody else" in second.until_state("busy")["message"]
        second.send_json({"type": "take"})
        second.until_state("connected")
        first.until_state("busy")
        second.close()
        first.until_state("connected", timeout=10)
    first.close()


def test_a_reboot_is_said(panel: Panel, world: World) -> None:
    """QEMU stays when the guest reboots, and the stream with it: only the timeline tells."""
    terminal = sit_down(panel, world)
    record_event("server.rebooted", "It rebooted", resource=("server", world.server.pk))
    assert terminal.until_notice() == "The server rebooted."
    terminal.close()


# --- in the page ------------------------------------------------------------------


@pytest.mark.browser
def test_watching_in_the_page(page: Page, panel: Panel, world: World) -> None:
    holder = Browser(panel, world.olga).console(world.server.pk)
    holder.login()
    holder.type("echo before-you-came\r")
    holder.until_output(b"before-you-came\r\n")
    open_console(page, panel, world.alice, world.server.pk)
    page.get_by_role("button", name="Watch", exact=True).click()
    expect(page.locator("#connection")).to_have_text("Watching")
    expect(page.locator(ROWS)).to_contain_text("before-you-came")
    expect(page.locator("#serial-others")).to_contain_text("olga@example.com types")
    page.locator("#terminal").click()
    page.keyboard.type("nothing")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.locator("#serial-others").get_by_role("button", name="Take over").click()
    connected(page)
    expect(page.locator("#serial-others")).to_contain_text("olga@example.com watches")
    assert "nothing" not in page.locator(ROWS).inner_text()
    page.keyboard.type("echo from-alice\n")
    holder.until_output(b"from-alice\r\n")
    holder.close()
    expect(page.locator("#serial-others")).to_be_hidden()


@pytest.mark.browser
def test_a_line_says_when_the_session_was_resumed(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    assert "reconnected at" not in page.locator(ROWS).inner_text()
    world.driver.drop_connections()
    expect(page.locator(ROWS)).to_contain_text("— reconnected at", timeout=10_000)
    connected(page)
    page.keyboard.type("echo on-it-goes\n")
    expect(page.locator(ROWS)).to_contain_text("on-it-goes")
