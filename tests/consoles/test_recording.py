"""Recordings: what the server wrote and never what was typed, bounded, through the one door."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.db.models import CASCADE
from django.test import Client
from playwright.sync_api import Page, expect

from tests.consoles.browsing import login, open_console
from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel, Terminal
from tests.hosts.contract import wait_until
from vpspanel.accounts.models import User
from vpspanel.consoles.models import Recording
from vpspanel.consoles.recorder import SIZE_LIMIT, Recorder, Tape
from vpspanel.consoles.recordings import KEPT, keep_recording
from vpspanel.events.actor import Actor
from vpspanel.events.models import Event


class Clock:
    """Goes on when it is told to."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(data: bytes) -> list[Any]:
    return [json.loads(line) for line in gzip.decompress(data).splitlines()]


def tape(user: User, *texts: bytes) -> Tape:
    """A recording with a second between its texts, and ten before the last."""
    clock = Clock()
    recorder = Recorder(Actor(user, "page"), (80, 24), clock=clock)
    for text in texts[:-1]:
        recorder.output(text)
        clock.now += 1
    clock.now += 9
    for text in texts[-1:]:
        recorder.output(text)
    return recorder.finish("It ended.")


def recorded(world: World) -> Recording:
    """The one that was just kept."""
    wait_until(Recording.objects.exists, 5, "it is kept")
    return Recording.objects.get()


# --- the file -----------------------------------------------------------------------


def test_it_is_an_asciicast() -> None:
    clock = Clock()
    recorder = Recorder(Actor(None, "system"), (100, 30), clock=clock)
    recorder.output("gr\u00fcn".encode()[:3])  # cut within a character
    clock.now = 1.5
    recorder.output("\u00fcn".encode()[1:] + b"\x1b[0m\xff")
    recorder.resize((90, 20))
    recorder.mark("here")
    made = recorder.finish("It ended.")
    head, *events = lines(made.data)
    assert {"version": 2, "width": 100, "height": 30}.items() <= head.items()
    assert events == [
        [0.0, "o", "gr"],
        [1.5, "o", "\u00fcn\x1b[0m\ufffd"],
        [1.5, "r", "90x20"],
        [1.5, "m", "here"],
    ]
    assert made.seconds == 1.5


def test_it_ends_by_itself() -> None:
    clock = Clock()
    recorder = Recorder(Actor(None, "system"), (80, 24), clock=clock)
    while not recorder.full:
        recorder.output(b"x" * 65536)
    assert "5 MiB" in recorder.full
    assert recorder.finish("").size < SIZE_LIMIT + 2 * 65536
    recorder = Recorder(Actor(None, "system"), (80, 24), clock=clock)
    clock.now += 3600
    assert "an hour" in recorder.full


# --- over the socket ----------------------------------------------------------------


def start_recording(panel: Panel, world: World) -> Terminal:
    terminal = Browser(panel, world.alice).console(world.server.pk)
    terminal.login()
    terminal.send_json({"type": "size", "columns": 132, "rows": 40})
    terminal.send_json({"type": "record", "on": True})
    until_recorded_by(terminal, "alice@example.com")
    return terminal


def until_recorded_by(terminal: Terminal, name: str) -> None:
    while not any(message.get("recording") == name for message in terminal.messages):
        terminal.step(5)
    terminal.messages.clear()


def test_what_is_written_is_kept_and_everybody_knows(panel: Panel, world: World) -> None:
    terminal = start_recording(panel, world)
    reader = Browser(panel, world.rita).console(world.server.pk)
    until_recorded_by(reader, "alice@example.com")
    terminal.type("echo hello-there\r")
    terminal.until_output(b"hello-there\r\n")
    terminal.send_json({"type": "record", "on": False})
    until_recorded_by(reader, "")
    kept = recorded(world)
    head, *events = lines(bytes(kept.data))
    assert (head["width"], head["height"]) == (132, 40)
    assert "hello-there\r\n" in "".join(text for _, kind, text in events if kind == "o")
    assert {kind for _, kind, _ in events} == {"o"}
    assert (kept.started_by, kept.ended) == (world.alice, "alice@example.com ended it.")
    kinds = Event.objects.filter(resource_id=world.server.pk, public=True).values_list("kind")
    assert {("console.recording_started",), ("console.recording_ended",)} <= set(kinds)
    terminal.close()
    reader.close()


def test_it_ends_when_everybody_has_left(panel: Panel, world: World) -> None:
    start_recording(panel, world).close()
    assert recorded(world).ended == "Everybody had left."


def test_who_may_not_type_starts_none(panel: Panel, world: World) -> None:
    reader = Browser(panel, world.rita).console(world.server.pk)
    reader.until_state("connected")
    reader.send_json({"type": "record", "on": True})
    reader.send_json({"type": "size", "columns": "x", "rows": -1})
    reader.listen(0.5)
    assert not any(message.get("recording") for message in reader.messages)
    reader.close()


# --- the door -----------------------------------------------------------------------


def test_strangers_get_none_and_readers_delete_none(world: World) -> None:
    kept = keep_recording(world.server.pk, tape(world.alice, b"secret"))
    other = keep_recording(world.foreign.pk, tape(world.mallory, b"theirs"))
    client = Client()
    client.force_login(world.rita)
    base = f"/servers/{world.server.pk}/console/recordings/"
    answer = client.get(f"{base}{kept.pk}/")
    assert b"secret" in answer.content
    assert answer["Content-Disposition"].startswith("attachment")
    assert "no-store" in answer["Cache-Control"]
    assert client.get(f"{base}{other.pk}/").status_code == 404  # of another server
    assert client.post(f"{base}{kept.pk}/delete/").status_code == 403
    client.force_login(world.mallory)
    assert client.get(f"{base}{kept.pk}/").status_code == 404
    assert client.post(f"{base}{kept.pk}/delete/").status_code == 404
    assert Recording.objects.count() == 2
    client.force_login(world.olga)
    assert client.post(f"{base}{kept.pk}/delete/").status_code == 200
    assert Recording.objects.get() == other
    assert Event.objects.filter(kind="console.recording_deleted").get().actor == world.olga


def test_the_oldest_gives_way(world: World) -> None:
    first = keep_recording(world.server.pk, tape(world.alice, b"first"))
    for _ in range(KEPT):
        keep_recording(world.server.pk, tape(world.alice, b"more"))
    assert Recording.objects.count() == KEPT
    assert not Recording.objects.filter(pk=first.pk).exists()


def test_it_goes_with_its_project(world: World) -> None:
    keep_recording(world.server.pk, tape(world.alice, b"secret"))
    kept = Recording._meta.get_field("project").remote_field
    assert kept.on_delete is CASCADE


# --- in the page --------------------------------------------------------------------


@pytest.mark.browser
def test_record_and_replay_in_the_page(page: Page, panel: Panel, world: World) -> None:
    open_console(page, panel, world.alice, world.server.pk)
    login(page)
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator("#recording")).to_have_text("Recorded by alice@example.com")
    page.keyboard.type("echo on-tape\n")
    expect(page.locator("#terminal .xterm-rows")).to_contain_text("on-tape")
    page.get_by_role("button", name="Record", exact=True).click()
    expect(page.locator("#recording")).to_be_hidden()
    recorded(world)
    page.get_by_role("button", name="Recordings").click()
    page.locator("#recordings-list").get_by_role("button", name="Play").click()
    expect(page.locator("#player-screen .xterm-rows")).to_contain_text("on-tape")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.locator("#recordings-list").get_by_role("button", name="Delete").click()
    page.locator("#confirm-yes").click()
    expect(page.locator("#recordings-list")).to_contain_text("Nothing was recorded yet.")
    assert not Recording.objects.exists()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 390])
def test_the_player_seeks_and_skips_pauses(
    page: Page, panel: Panel, world: World, width: int
) -> None:
    texts = (b"one\r\n", b"two\r\n", b"<b>\x1b[31mthree\x1b[0m\x1b]0;evil\x07\r\n", b"four\r\n")
    keep_recording(world.server.pk, tape(world.alice, *texts))
    page.set_viewport_size({"width": width, "height": 800})
    open_console(page, panel, world.rita, world.server.pk)
    page.get_by_role("button", name="Recordings").click()
    page.locator("#recordings-list").get_by_role("button", name="Play").click()
    screen = page.locator("#player-screen .xterm-rows")
    expect(screen).to_contain_text("one")
    expect(page.locator("#player-time")).to_contain_text("/ 0:04")  # twelve seconds, cut
    page.locator("#player-speed").select_option("4")
    expect(screen).to_contain_text("four", timeout=10_000)
    expect(screen).to_contain_text("<b>three")
    assert page.title() == "Console of web"
    page.locator("#player-seek").fill("1.5")
    expect(screen).not_to_contain_text("three")
    expect(screen).to_contain_text("two")
    page.locator("#player-cut").uncheck()
    expect(page.locator("#player-time")).to_contain_text("/ 0:12")
    assert page.locator("#recordings-list").get_by_role("button", name="Delete").count() == 0
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
