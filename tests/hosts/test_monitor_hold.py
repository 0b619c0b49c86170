"""A reboot is one thing, a stop another: what is held, merged and doubted."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid4

from hosts.monitor_hold import Hold
from hosts.virt.spec import DomainEvent, DomainSeen, EventKind, Power

GUEST = uuid4()


def event(kind: EventKind, uuid: UUID | None = GUEST, detail: str = "") -> DomainEvent:
    return DomainEvent(kind, uuid, datetime(2026, 1, 1, tzinfo=UTC), detail)


def seen(power: Power, uuid: UUID = GUEST) -> DomainSeen:
    return DomainSeen(uuid=uuid, name="guest", power=power, ours=True)


def kinds(events: list[DomainEvent]) -> list[EventKind]:
    return [event.kind for event in events]


def test_a_stop_is_believed_after_the_hold_only() -> None:
    hold = Hold(2.5)
    assert hold.take(event(EventKind.STOPPED, detail="shutdown"), now=100) == []
    assert hold.next_due() == 102.5
    assert hold.due(102.4) == []
    (stopped,) = hold.due(102.5)
    assert (stopped.kind, stopped.detail) == (EventKind.STOPPED, "shutdown")
    assert stopped.at.year > 2026 or stopped.at > datetime(2026, 1, 1, tzinfo=UTC)
    assert hold.next_due() is None
    assert hold.due(200) == []


def test_stop_and_start_become_one_reboot() -> None:
    hold = Hold(2.5)
    hold.take(event(EventKind.STOPPED), now=100)
    assert kinds(hold.take(event(EventKind.STARTED), now=101)) == [EventKind.REBOOTED]
    assert hold.due(200) == []


def test_a_new_definition_between_stop_and_start_ends_no_hold() -> None:
    hold = Hold(2.5)
    hold.take(event(EventKind.STOPPED), now=100)
    for kind in (EventKind.DEFINED, EventKind.IO_ERROR, EventKind.UNDEFINED):
        assert kinds(hold.take(event(kind), now=100.5)) == [kind]
    assert kinds(hold.take(event(EventKind.STARTED), now=101)) == [EventKind.REBOOTED]


def test_a_start_without_a_stop_stays_a_start() -> None:
    assert kinds(Hold(2.5).take(event(EventKind.STARTED), now=1)) == [EventKind.STARTED]


def test_other_guests_do_not_end_a_hold() -> None:
    hold = Hold(2.5)
    hold.take(event(EventKind.STOPPED), now=100)
    hold.take(event(EventKind.STARTED, uuid4()), now=101)
    assert kinds(hold.due(103)) == [EventKind.STOPPED]


def test_repeated_stops_do_not_prolong_the_hold() -> None:
    hold = Hold(2.5)
    for now in (100.0, 101.0, 102.0):
        hold.take(event(EventKind.STOPPED), now=now)
    assert kinds(hold.due(102.5)) == [EventKind.STOPPED]


def test_a_lost_connection_lets_go_of_held_stops_first() -> None:
    hold = Hold(2.5)
    hold.take(event(EventKind.STOPPED), now=100)
    passed = hold.take(event(EventKind.DISCONNECTED, None), now=100.1)
    assert kinds(passed) == [EventKind.STOPPED, EventKind.DISCONNECTED]


def test_a_held_guest_is_not_listed_as_off() -> None:
    hold = Hold(2.5)
    hold.settle([seen(Power.RUNNING)])
    hold.take(event(EventKind.STOPPED), now=100)
    (domain,), again = hold.settle([seen(Power.OFF)])
    assert (domain.power, again) == (Power.UNKNOWN, False)
    hold.due(103)
    (domain,), again = hold.settle([seen(Power.OFF)])
    assert (domain.power, again) == (Power.OFF, False)


def test_off_without_a_word_is_believed_at_the_second_look() -> None:
    hold = Hold(2.5)
    hold.settle([seen(Power.RUNNING)])
    (domain,), again = hold.settle([seen(Power.OFF)])
    assert (domain.power, again) == (Power.UNKNOWN, True)
    (domain,), again = hold.settle([seen(Power.OFF)])
    assert (domain.power, again) == (Power.OFF, False)


def test_the_first_list_is_believed() -> None:
    (domain,), again = Hold(2.5).settle([seen(Power.OFF)])
    assert (domain.power, again) == (Power.OFF, False)
