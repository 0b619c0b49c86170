"""`manage.py server_move`."""

from __future__ import annotations

import io
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from hosts.models import Host
from hosts.virt.spec import Power
from tests.servers.moves import ended, lives_on, other
from tests.world import World
from vpspanel.actions.models import Action
from vpspanel.servers.models import Server

__all__ = ["other"]

pytestmark = pytest.mark.django_db


def said(server: Server, **options: Any) -> str:
    """What the command prints."""
    out = io.StringIO()
    call_command("server_move", str(server.pk), stdout=out, **options)
    return out.getvalue()


def test_it_says_where_to_moves_there_and_calls_off(world: World, other: Host) -> None:
    server = world.running()
    plan = said(server, dry_run=True)
    assert f"{other}:" in plan
    assert not Action.objects.filter(command="migrate").exists()
    assert "is being moved: action" in said(server, to=other.name)
    assert "is called off" in said(server, cancel=True)
    lives_on(world, server, world.host, Power.RUNNING)
    said(server, to=other.name, how="live", bandwidth=100)
    assert ended(Action.objects.latest("pk")).state == "success"
    lives_on(world, server, other, Power.RUNNING)


def test_what_is_refused_is_said(world: World, other: Host) -> None:
    server = world.running()
    with pytest.raises(CommandError, match=f"There is no host mars. Known are: .*{other.name}"):
        said(server, to="mars")
    with pytest.raises(CommandError, match=f"It is on {world.host} already"):
        said(server, to=world.host.name)
    with pytest.raises(CommandError, match="It is not being moved"):
        said(server, cancel=True)
