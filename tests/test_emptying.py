"""Whatever a test leaves on PostgreSQL is gone afterwards, be it little or much."""

from __future__ import annotations

import pytest
from django.core.management import call_command
from django.db import connection

from tests import emptying
from tests.world import make_world
from vpspanel.events.models import Event
from vpspanel.servers.models import Server

pytestmark = [pytest.mark.postgres, pytest.mark.django_db(transaction=True)]


@pytest.mark.parametrize("truncated", [False, True])
def test_nothing_is_left(truncated: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if truncated:
        monkeypatch.setattr(emptying, "TOO_LARGE", 0)
    make_world().running("web")
    before = _file_of(Server)
    call_command("flush", verbosity=0, interactive=False, reset_sequences=False)
    assert not Server.objects.exists()
    assert not Event.objects.exists()
    assert (_file_of(Server) != before) == truncated


def _file_of(model: type[Server]) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_relation_filenode(%s)", [model._meta.db_table])
        return int(cursor.fetchone()[0])
