"""The budget of a token: what it may ask in an hour."""

from __future__ import annotations

import threading
import time

import pytest
from django.db import connections
from django.test import override_settings

from tests.api.asking import Api, program
from tests.world import World, make_world
from vpspanel.accounts.models import ApiToken
from vpspanel.accounts.token_services import create_token
from vpspanel.api.budget import HOUR, look, spend
from vpspanel.events.actor import SYSTEM

SECOND = 1_000_000
NOW = 1_800_000_000 * SECOND


@pytest.fixture
def token(world: World) -> ApiToken:
    return create_token(SYSTEM, project=world.project, name="ci", may_write=True).token


def test_it_is_spent_and_refilled_evenly(token: ApiToken) -> None:
    for left in range(3599, -1, -1):
        token.refresh_from_db()
        assert spend(token, now=NOW).remaining == left
    token.refresh_from_db()
    refused = spend(token, now=NOW)
    assert (refused.remaining, refused.wait, refused.reset) == (0, 1, NOW // SECOND + 3600)
    assert spend(token, now=NOW + SECOND - 1).wait == 1
    assert spend(token, now=NOW + SECOND).wait == 0
    token.refresh_from_db()
    assert look(token, now=NOW + SECOND).remaining == 0
    assert look(token, now=NOW + 11 * SECOND).remaining == 10
    assert look(token, now=NOW + HOUR + SECOND).remaining == 3600


def test_headers_tell(world: World, api: Api) -> None:
    answers = [api.ask("GET", "/servers") for _ in range(2)]
    assert [answer["RateLimit-Limit"] for answer in answers] == ["3600", "3600"]
    assert [answer["RateLimit-Remaining"] for answer in answers] == ["3599", "3598"]
    assert 0 < int(answers[1]["RateLimit-Reset"]) - time.time() <= 4


@override_settings(API_REQUESTS_PER_HOUR=2)
def test_who_asks_too_much_is_told_when_to_come_back(world: World, api: Api) -> None:
    for _ in range(2):
        assert api.ask("GET", "/servers").status_code == 200
    answer = api.ask("GET", "/servers")
    assert answer.status_code == 429
    assert 1790 < int(answer["Retry-After"]) <= 1800
    assert answer["RateLimit-Remaining"] == "0"
    assert api.refused("POST", "/servers", {}) == (429, "rate_limit_exceeded")
    other = program(world.project, name="other")
    assert other.ask("GET", "/servers").status_code == 200


@override_settings(API_REQUESTS_PER_HOUR=1)
def test_polling_costs_nothing(world: World, api: Api) -> None:
    ordered = world.order()
    for _ in range(3):
        api.get(f"/actions?id={ordered.action.pk}")
        api.get(f"/actions/{ordered.action.pk}")
        api.get(f"/servers/{ordered.server.pk}/actions")
    api.get("/servers")
    assert api.refused("GET", "/servers") == (429, "rate_limit_exceeded")
    api.get(f"/actions/{ordered.action.pk}")


@pytest.mark.both_databases
@pytest.mark.django_db(transaction=True)
def test_many_at_once_spend_exactly_what_there_is() -> None:
    project = make_world().project
    token = create_token(SYSTEM, project=project, name="ci", may_write=True).token
    ApiToken.objects.filter(pk=token.pk).update(budget_full_at=NOW + HOUR - 50 * SECOND)
    granted: list[bool] = []

    def ask() -> None:
        granted.extend(spend(token, now=NOW).wait == 0 for _ in range(20))
        connections.close_all()

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(granted), sum(granted)) == (120, 50)
