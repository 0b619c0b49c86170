"""PostgreSQL numbers rows before they are committed: what comes late is handed out all the same."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone

from tests.events.test_late_commit import Late
from tests.webhooks.receiver import listening
from tests.webhooks.test_sender import happen
from tests.world import World
from vpspanel.events.models import Event
from vpspanel.webhooks.handout import hand_out
from vpspanel.webhooks.models import Delivery, Mark

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


def told() -> set[int]:
    return set(Delivery.objects.values_list("event_id", flat=True))


def test_late_and_never(world: World) -> None:
    listening(world, kinds=["test.late", "server.started"])
    hand_out()
    late = Late(1, world.project.pk)
    with transaction.atomic():
        happen(world)
        transaction.set_rollback(True)
    third = happen(world)
    hand_out()
    assert told() == {third.pk}
    assert len(Mark.objects.get().missing) == 2
    late.commit()
    hand_out()
    assert told() == {third.pk, Event.objects.get(kind="test.late").pk}
    assert len(Mark.objects.get().missing) == 1
    mark = Mark.objects.get()
    long_ago = (timezone.now() - timedelta(seconds=1)).timestamp()
    Mark.objects.update(missing=dict.fromkeys(mark.missing, long_ago))
    hand_out()
    assert Mark.objects.get().missing == {}
