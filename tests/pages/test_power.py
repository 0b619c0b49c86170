"""Buttons: one action each, a word for the customer, and the way back to where they were."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from tests.pages.conftest import SignIn
from tests.world import World, work
from vpspanel.actions.models import Action
from vpspanel.servers.models import PowerSeen, Server

RUNNING = ["shutdown", "reboot", "power_off", "reset", "reset_password"]


def at(name: str, server: Server) -> str:
    return reverse(f"servers:{name}", kwargs={"server_id": server.pk})


@pytest.mark.parametrize("verb", RUNNING)
def test_a_running_server(world: World, alice: Client, verb: str) -> None:
    server = world.running()
    response = alice.post(at(verb, server), follow=True)
    assert response.redirect_chain == [(at("show", server), 302)]
    assert Action.objects.filter(command=verb, resource_id=server.pk).count() == 1
    assert b"toast-success" in response.content
    assert b"web" in response.content


def test_starting_what_is_off(world: World, alice: Client) -> None:
    server = world.running()
    alice.post(at("power_off", server))
    work()
    assert Server.objects.get(pk=server.pk).power_seen == PowerSeen.OFF
    page = alice.get(at("show", server)).content.decode()
    assert 'id="shutdown" disabled title="It is off."' in page
    alice.post(at("power_on", server))
    work()
    assert Server.objects.get(pk=server.pk).power_seen == PowerSeen.RUNNING


def test_from_the_list_it_goes_back_to_the_list(world: World, alice: Client) -> None:
    server = world.running()
    response = alice.post(at("shutdown", server), {"from": "list"})
    assert response["Location"] == reverse("servers:list")


def test_what_is_refused_says_why_on_the_servers_page(world: World, alice: Client) -> None:
    server = world.running()
    alice.post(at("shutdown", server))
    response = alice.post(at("reboot", server), follow=True)
    assert response.redirect_chain == [(at("show", server), 302)]
    assert "Please wait: shutdown is not finished yet." in response.content.decode()
    assert b"toast-error" in response.content
    assert Action.objects.filter(command="reboot").count() == 0


def test_a_dialog_gets_only_the_question(world: World, alice: Client) -> None:
    server = world.running()
    whole = alice.get(at("power_off", server))
    part = alice.get(at("power_off", server), headers={"X-Dialog": "1"})
    assert b"<html" in whole.content
    assert b"<html" not in part.content
    assert b"pulling the plug" in part.content
    assert "X-Dialog" in part["Vary"]


def test_a_dialog_is_told_where_to_go(world: World, alice: Client) -> None:
    server = world.running()
    response = alice.post(at("power_off", server), headers={"X-Dialog": "1"})
    assert response.status_code == 204
    assert response["X-Location"] == at("show", server)
    assert b"is being powered off" in alice.get(at("show", server)).content


def test_what_waits_can_be_cancelled_by_whoever_may_do_it(
    world: World, alice: Client, sign_in: SignIn
) -> None:
    server = world.running()
    alice.post(at("reboot", server))
    action = Action.objects.get(command="reboot")
    assert 'id="cancel"' in alice.get(at("show", server)).content.decode()
    bob = sign_in(world.bob)
    assert 'id="cancel"' not in bob.get(at("show", server)).content.decode()
    assert bob.post(at("cancel", server)).status_code == 403
    alice.post(at("cancel", server))
    action.refresh_from_db()
    assert action.state == "cancelled"
    again = alice.post(at("cancel", server), follow=True).content.decode()
    assert "Nothing waits to be done" in again


def test_what_has_begun_is_not_cancelled(world: World, alice: Client) -> None:
    server = world.running()
    alice.post(at("reboot", server))
    Action.objects.filter(command="reboot").update(state="running", attempt=1)
    assert 'id="cancel"' not in alice.get(at("show", server)).content.decode()
    said = alice.post(at("cancel", server), follow=True).content.decode()
    assert "It has begun already" in said
    assert Action.objects.get(command="reboot").state == "running"
