"""An open console closes within five seconds of the loss of the right to it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.sessions.models import Session
from django.utils import timezone

from tests.consoles.conftest import World
from tests.consoles.panel import Browser, Panel
from vpspanel.accounts.models import Account, Member, Project, Role, User
from vpspanel.servers.models import Lifecycle, Server

LIMIT = 5.0
LOST = 4403


def sign_out(world: World) -> None:
    Session.objects.all().delete()


def disable(world: World) -> None:
    User.objects.filter(pk=world.olga.pk).update(is_active=False)


def change_password(world: World) -> None:
    world.olga.set_password("another")
    world.olga.save(update_fields=["password"])


def remove_member(world: World) -> None:
    Member.objects.filter(user=world.olga).delete()


def delete_server(world: World) -> None:
    Server.objects.filter(pk=world.server.pk).update(lifecycle=Lifecycle.DELETING)


def suspend_server(world: World) -> None:
    Server.objects.filter(pk=world.server.pk).update(suspended_at=timezone.now())


def give_away(world: World) -> None:
    account = Account.objects.create(name="buyer")
    project = Project.objects.create(account=account, name="Default")
    Server.objects.filter(pk=world.server.pk).update(project=project)


SIGNED_OUT = (4401, "You were signed out.")
NO_ACCESS = (LOST, "You no longer have access to this server.")


@pytest.mark.both_databases
@pytest.mark.parametrize(
    ("lose", "end"),
    [
        (sign_out, SIGNED_OUT),
        (disable, SIGNED_OUT),
        (change_password, SIGNED_OUT),
        (remove_member, NO_ACCESS),
        (delete_server, (4404, "The server was deleted.")),
        (suspend_server, (LOST, "The server is suspended. Please contact support.")),
        (give_away, NO_ACCESS),
    ],
)
def test_console_closes_and_says_why(
    panel: Panel, world: World, lose: Callable[[World], None], end: tuple[int, str]
) -> None:
    """No event tells of it: the guard has to look by itself."""
    terminal = Browser(panel, world.olga).console(world.server.pk)
    terminal.login()
    lose(world)
    code, reason, seconds = terminal.until_closed(timeout=LIMIT + 3)
    assert (code, reason) == end
    assert seconds < LIMIT


def test_flooded_console_closes_as_quickly(panel: Panel, world: World) -> None:
    terminal = Browser(panel, world.olga).console(world.server.pk)
    terminal.login()
    terminal.type("yes\r")
    terminal.until_output(b"y\r\ny\r\n")
    remove_member(world)
    code, _, seconds = terminal.until_closed(timeout=LIMIT + 3)
    assert code == LOST
    assert seconds < LIMIT


def test_other_consoles_stay_open(panel: Panel, world: World) -> None:
    alice = Browser(panel, world.alice).console(world.server.pk)
    alice.login()
    olga = Browser(panel, world.olga).console(world.server.pk)
    olga.until_state("busy")
    remove_member(world)
    assert olga.until_closed(timeout=LIMIT + 3)[0] == LOST
    alice.type("echo here\r")
    alice.until_output(b"here\r\n")
    alice.close()


def test_a_smaller_role_may_watch_on_but_not_type(panel: Panel, world: World) -> None:
    terminal = Browser(panel, world.olga).console(world.server.pk)
    terminal.login()
    terminal.messages.clear()
    Member.objects.filter(user=world.olga).update(role=Role.READER)
    assert terminal.until_state("connected", timeout=LIMIT)["types"] is False
    terminal.type("echo canary\r")
    terminal.until_notice()
    terminal.listen(0.5)
    assert b"canary" not in terminal.output
    terminal.close()
