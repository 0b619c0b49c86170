"""The state table: what is shown, what is allowed, and a sentence for whatever is not."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from vpspanel.servers.models import Lifecycle, PowerSeen, PowerWanted
from vpspanel.servers.states import ServerFacts, Status, Verb, allowed, shown_status, why_not

HCLOUD = {
    *("initializing", "starting", "running", "stopping", "off"),
    *("deleting", "rebuilding", "migrating", "unknown"),
}
RUNNING = ServerFacts(Lifecycle.ACTIVE, PowerWanted.ON, PowerSeen.RUNNING)
OFF = replace(RUNNING, power_wanted=PowerWanted.OFF, power_seen=PowerSeen.OFF)


def every_state() -> list[ServerFacts]:
    commands = (None, "create", "shutdown", "rebuild", "delete", "scrub_seed", "something_new")
    return [
        ServerFacts(lifecycle, wanted, seen, suspended, reachable, command, command and "running")
        for lifecycle, wanted, seen, suspended, reachable, command in product(
            Lifecycle, PowerWanted, PowerSeen, (False, True), (False, True), commands
        )
    ]


def test_every_state_has_a_word_that_clients_know() -> None:
    assert {shown_status(facts).api for facts in every_state()} <= HCLOUD


def test_every_refusal_is_a_sentence() -> None:
    for facts in every_state():
        for verb, why in allowed(facts).items():
            refusal = why_not(verb, facts)
            assert why == (refusal.message if refusal else "")
            assert refusal is None or (refusal.code and why.endswith("."))


@pytest.mark.parametrize(
    ("facts", "word"),
    [
        (RUNNING, Status.RUNNING),
        (OFF, Status.OFF),
        (replace(RUNNING, power_seen=PowerSeen.CRASHED), Status.CRASHED),
        (replace(RUNNING, power_seen=PowerSeen.MISSING), Status.MISSING),
        (replace(RUNNING, host_reachable=False), Status.UNKNOWN),
        (replace(RUNNING, open_command="shutdown", open_state="running"), Status.STOPPING),
        (replace(RUNNING, open_command="shutdown", open_state="parked"), Status.RUNNING),
        (replace(OFF, open_command="power_on", open_state="queued"), Status.STARTING),
        (replace(OFF, open_command="rebuild", open_state="running"), Status.REBUILDING),
        (replace(RUNNING, lifecycle=Lifecycle.DELETING, open_command="delete"), Status.DELETING),
        (replace(OFF, lifecycle=Lifecycle.CREATING, open_command="create"), Status.INITIALIZING),
        (replace(OFF, lifecycle=Lifecycle.DELETED), Status.DELETED),
    ],
)
def test_what_is_shown(facts: ServerFacts, word: Status) -> None:
    assert shown_status(facts) is word


def test_an_unreachable_host_is_never_shown_as_off() -> None:
    for seen in PowerSeen:
        facts = replace(RUNNING, power_seen=seen, host_reachable=False)
        assert shown_status(facts) is Status.UNKNOWN


@pytest.mark.parametrize(
    ("verb", "facts", "code"),
    [
        (Verb.POWER_ON, OFF, ""),
        (Verb.POWER_ON, RUNNING, "conflict"),
        (Verb.SHUTDOWN, RUNNING, ""),
        (Verb.SHUTDOWN, OFF, "server_not_running"),
        (Verb.SHUTDOWN, replace(RUNNING, power_seen=PowerSeen.PAUSED), "server_not_running"),
        (Verb.POWER_OFF, replace(RUNNING, power_seen=PowerSeen.PAUSED), ""),
        (Verb.RESET, OFF, "server_not_running"),
        (Verb.REBUILD, OFF, ""),
        (Verb.REBUILD, replace(OFF, protect_rebuild=True), "protected"),
        (Verb.DELETE, replace(OFF, protect_delete=True), "protected"),
        (Verb.DELETE, replace(RUNNING, open_command="reboot", open_state="running"), "locked"),
        (Verb.RENAME, replace(RUNNING, open_command="reboot", open_state="running"), ""),
        (Verb.POWER_ON, replace(OFF, suspended=True), "forbidden"),
        (Verb.POWER_OFF, replace(RUNNING, suspended=True), ""),
        (Verb.CONSOLE, replace(OFF, lifecycle=Lifecycle.CREATING, open_command="create"), ""),
        (Verb.CONSOLE, replace(OFF, lifecycle=Lifecycle.DELETED), "conflict"),
        (Verb.DELETE, replace(OFF, lifecycle=Lifecycle.CREATING), "locked"),
    ],
)
def test_what_is_allowed(verb: Verb, facts: ServerFacts, code: str) -> None:
    refusal = why_not(verb, facts)
    assert (refusal.code if refusal else "") == code
