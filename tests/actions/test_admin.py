"""The queue's page: staff retry and cancel through the engine's services, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse

from tests.world import World, make_user, make_world, work
from vpspanel.accounts.models import User
from vpspanel.actions.models import Action, ActionState
from vpspanel.events.models import Event
from vpspanel.servers.models import Server

pytestmark = pytest.mark.both_databases

LIST = "admin:actions_action_changelist"


@pytest.fixture
def world(transactional_db: None) -> World:
    return make_world()


def sign_in(client: Client, *permissions: str) -> User:
    user = make_user("staff@example.com")
    User.objects.filter(pk=user.pk).update(is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(user)
    return user


def act(client: Client, name: str, *actions: Action, confirmed: bool = True) -> str:
    form = {"action": name, "_selected_action": [action.pk for action in actions]}
    if confirmed:
        form["confirmed"] = "yes"
    return client.post(reverse(LIST), form, follow=True).content.decode()


def test_a_queued_action_can_be_cancelled(world: World, client: Client) -> None:
    ordered = world.order()
    user = sign_in(client, "view_action", "change_action")
    assert "was cancelled" in act(client, "cancel", ordered.action)
    ordered.action.refresh_from_db()
    assert ordered.action.state == ActionState.CANCELLED
    assert Server.objects.get(pk=ordered.server.pk).lifecycle == "deleted"
    assert Event.objects.get(kind="create.cancelled").actor_id == user.pk


def test_what_has_begun_is_not_cancelled(world: World, client: Client) -> None:
    ordered = world.order()
    Action.objects.filter(pk=ordered.action.pk).update(state=ActionState.RUNNING, attempt=1)
    sign_in(client, "view_action", "change_action")
    assert "begun already" in act(client, "cancel", ordered.action)
    ordered.action.refresh_from_db()
    assert ordered.action.state == ActionState.RUNNING


def test_it_asks_before_it_undoes_or_touches_several(world: World, client: Client) -> None:
    first, second = world.order("web1").action, world.order("web2").action
    sign_in(client, "view_action", "change_action")
    Action.objects.filter(pk=first.pk).update(
        state=ActionState.PARKED, attempt=3, detail="host_degraded: look at it"
    )
    asked = act(client, "give_up", first, confirmed=False)
    assert "is undone, step by step" in asked
    assert "host_degraded: look at it" in asked
    Action.objects.filter(pk=first.pk).update(state=ActionState.QUEUED, attempt=0)
    asked = act(client, "cancel", first, second, confirmed=False)
    assert asked.count('name="_selected_action"') == 2
    assert not Action.objects.exclude(state=ActionState.QUEUED).exists()
    act(client, "cancel", first, second)
    assert not Action.objects.exclude(state=ActionState.CANCELLED).exists()


def test_it_says_which_of_the_chosen_stay_as_they_are(world: World, client: Client) -> None:
    first, second = world.order("web1").action, world.order("web2").action
    Action.objects.filter(pk=first.pk).update(state=ActionState.PARKED, attempt=3, detail="x: Odd.")
    sign_in(client, "view_action", "change_action")
    asked = act(client, "give_up", first, second, confirmed=False)
    lines = [line.strip() for line in asked.splitlines()]
    assert "needs attention, x: Odd." in lines
    assert lines.count("stays as it is, queued") == 1
    assert "(web1)" in asked


def test_a_page_offers_only_what_its_state_allows(world: World, client: Client) -> None:
    action = world.order().action
    page = reverse("admin:actions_action_change", args=[action.pk])
    sign_in(client, "view_action", "change_action")

    def offered() -> set[str]:
        html = client.get(page).content.decode()
        names = ("try_again", "give_up", "cancel")
        return {name for name in names if f'name="action" value="{name}"' in html}

    assert offered() == {"cancel"}
    Action.objects.filter(pk=action.pk).update(state=ActionState.PARKED, attempt=1)
    assert offered() == {"try_again", "give_up"}
    Action.objects.filter(pk=action.pk).update(state=ActionState.ERROR)
    assert offered() == set()


def test_a_parked_action_goes_on(world: World, client: Client) -> None:
    ordered = world.order()
    Action.objects.filter(pk=ordered.action.pk).update(
        state=ActionState.PARKED, attempt=3, detail="host_degraded: look at it"
    )
    sign_in(client, "view_action", "change_action")
    assert "goes on" in act(client, "try_again", ordered.action)
    ordered.action.refresh_from_db()
    assert (ordered.action.state, ordered.action.detail) == (ActionState.RUNNING, "")
    assert Event.objects.get(kind="action.retried").via == "admin"


def test_a_parked_action_is_given_up(world: World, client: Client) -> None:
    ordered = world.order()
    parked = Action.objects.filter(pk=ordered.action.pk)
    parked.update(state=ActionState.PARKED, attempt=3, step="create_disk", error_message="Odd.")
    sign_in(client, "view_action", "change_action")
    assert "is undone" in act(client, "give_up", ordered.action)
    work()
    assert parked.get().state == ActionState.ERROR
    server = Server.objects.get(pk=ordered.server.pk)
    assert (server.lifecycle, server.failed_reason) == ("deleted", "Odd.")
    assert Event.objects.get(kind="action.given_up").via == "admin"


def test_who_only_views_can_do_nothing(world: World, client: Client) -> None:
    ordered = world.order()
    sign_in(client, "view_action")
    for name in ("cancel", "give_up", "try_again"):
        act(client, name, ordered.action)
    ordered.action.refresh_from_db()
    assert ordered.action.state == ActionState.QUEUED


def test_the_error_is_shown_with_its_detail_for_staff(world: World, client: Client) -> None:
    ordered = world.order()
    Action.objects.filter(pk=ordered.action.pk).update(
        state=ActionState.ERROR, error_code="disk_full", error_detail="<pool> has no room"
    )
    sign_in(client, "view_action")
    for page in (reverse(LIST), reverse("admin:actions_action_change", args=[ordered.action.pk])):
        html = client.get(page).content.decode()
        assert "disk_full" in html
        assert "&lt;pool&gt; has no room" in html


def parked(world: World, name: str, reason: str) -> Action:
    """An action that needs attention."""
    action = world.order(name).action
    Action.objects.filter(pk=action.pk).update(
        state=ActionState.PARKED, attempt=2, detail=reason, error_code=reason.partition(":")[0]
    )
    return action


def test_the_queue_says_what_where_and_why(world: World, client: Client) -> None:
    action = parked(world, "web1", "host_degraded: Its host needs attention.")
    ordered = Action.objects.get(pk=action.pk)
    sign_in(client, "view_action")
    html = client.get(reverse(LIST)).content.decode()
    assert f'href="{reverse("admin:servers_server_change", args=[ordered.resource_id])}"' in html
    for said in ("web1", world.host.name, "needs attention", "host_degraded", " ago"):
        assert said in html
    assert "Its host needs attention." in html
    assert "alice@example.com" in html


def test_the_queue_is_filtered_by_reason_and_host(world: World, client: Client) -> None:
    degraded = parked(world, "web1", "host_degraded: Look.")
    silent = parked(world, "web2", "host_unreachable: Silent.")
    sign_in(client, "view_action")

    def shown(**query: str) -> list[int]:
        found = client.get(reverse(LIST), query).context["cl"].result_list
        return [action.pk for action in found]

    assert shown(parked_for="host_degraded") == [degraded.pk]
    assert shown(parked_for="host") == []  # no prefix of another code
    assert shown(open="oldest") == [degraded.pk, silent.pk]
    assert shown(open="newest") == [silent.pk, degraded.pk]
    assert shown(at_host=str(world.host.pk)) == [silent.pk, degraded.pk]
    assert shown(at_host=str(world.host.pk + 1)) == []
    Action.objects.filter(pk=degraded.pk).update(group="")  # its server is there all the same
    assert shown(at_host=str(world.host.pk)) == [silent.pk, degraded.pk]
    Action.objects.filter(pk=degraded.pk).update(state=ActionState.ERROR)
    assert shown(open="oldest") == [silent.pk]
    assert shown(parked_for="host_degraded") == []


def test_it_asks_before_anything(world: World, client: Client) -> None:
    action = parked(world, "web1", "host_degraded: Look.")
    sign_in(client, "view_action", "change_action")
    asked = act(client, "try_again", action, confirmed=False)
    assert 'name="confirmed"' in asked
    action.refresh_from_db()
    assert action.state == ActionState.PARKED


def test_the_queue_takes_as_many_queries_for_many(
    world: World, client: Client, django_assert_max_num_queries: Any
) -> None:
    sign_in(client, "view_action")
    for number in range(6):
        parked(world, f"web{number}", f"code{number}: Look.")
    client.get(reverse(LIST))
    with django_assert_max_num_queries(14):
        client.get(reverse(LIST))
