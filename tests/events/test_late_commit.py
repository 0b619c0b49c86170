"""PostgreSQL numbers rows before they are committed: what comes late is told all the same."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, transaction

from vpspanel.events.live import EventReader
from vpspanel.events.models import Event
from vpspanel.events.services import record_event

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def happen(number: int) -> Event:
    return record_event("test", "It happened", resource=("test", number))


class Late:
    """An event that is numbered now and committed when told to."""

    def __init__(self, number: int, project_id: int | None = None) -> None:
        self._numbered, self._go = threading.Event(), threading.Event()
        self._project_id = project_id
        self._thread = threading.Thread(target=self._run, args=(number,))
        self._thread.start()
        assert self._numbered.wait(5)

    def _run(self, number: int) -> None:
        with transaction.atomic():
            resource = ("test", number)
            record_event("test.late", "It happened", resource=resource, project_id=self._project_id)
            self._numbered.set()
            self._go.wait(5)
        connection.close()

    def commit(self) -> None:
        self._go.set()
        self._thread.join()


def told(reader: EventReader) -> list[int]:
    return [event.resource_id for event in reader.read()]


def test_an_event_is_told_that_was_numbered_before_the_reader_began(db: None) -> None:
    happen(1)
    late = Late(2)
    happen(3)
    reader = EventReader()
    assert told(reader) == []
    late.commit()
    happen(4)
    assert told(reader) == [2, 4]
    assert told(reader) == []


def test_what_was_there_before_is_not_told(db: None) -> None:
    for number in range(5):
        happen(number)
    with transaction.atomic():
        happen(6)
        transaction.set_rollback(True)
    happen(7)
    reader = EventReader()
    assert told(reader) == []
    assert told(reader) == []
