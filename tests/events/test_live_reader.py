"""The reader of the event table by itself: each event once, late commits included."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from vpspanel.events.live import EventReader
from vpspanel.events.services import record_event


def happen(number: int = 1) -> int:
    return record_event("server.changed", "Something", resource=("server", number)).pk


@pytest.mark.django_db(transaction=True)
def test_it_starts_at_the_end_and_finds_each_event_once() -> None:
    happen()
    reader = EventReader()
    assert reader.read() == []
    numbers = [happen(), happen()]
    assert [event.id for event in reader.read()] == numbers
    assert reader.read() == []


@pytest.mark.django_db(transaction=True)
def test_a_crowd_of_events_comes_in_order_and_whole() -> None:
    reader = EventReader()
    reader.read()
    numbers = [happen() for _ in range(1200)]
    found = []
    while events := reader.read():
        found += [event.id for event in events]
    assert found == numbers


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_an_event_that_is_committed_after_later_ones_is_not_lost() -> None:
    """PostgreSQL numbers rows when they are inserted, not when they are committed."""
    reader = EventReader()
    reader.read()
    inserted, go_on = threading.Event(), threading.Event()
    slow: list[int] = []

    def commit_late() -> None:
        with transaction.atomic():
            slow.append(happen(2))
            inserted.set()
            go_on.wait(10)
        connection.close()

    thread = threading.Thread(target=commit_late)
    thread.start()
    assert inserted.wait(10)
    quick = happen(1)
    assert [event.id for event in reader.read()] == [quick]
    go_on.set()
    thread.join(10)
    assert slow[0] < quick
    assert [event.id for event in reader.read()] == slow
    assert reader.read() == []
