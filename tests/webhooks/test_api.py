"""Webhooks through the API."""

from __future__ import annotations

import pytest
from django.utils import timezone

from tests.api.asking import Api, program, project_of_charlie
from tests.webhooks.receiver import Receiver
from tests.world import World
from vpspanel.accounts.models import Account
from vpspanel.events.models import Event
from vpspanel.sealing import unseal
from vpspanel.webhooks.models import Webhook
from vpspanel.webhooks.sender import Sender

BODY = {"name": "billing", "url": "https://example.com/hook", "kinds": ["server.*"]}


@pytest.fixture
def api(world: World) -> Api:
    """A program that may do everything in Alice's project."""
    return program(world.project)


def test_the_life_of_a_webhook(world: World, api: Api, hook: Receiver) -> None:
    made = api.post("/webhooks", {**BODY, "url": hook.url})
    webhook = made["webhook"]
    path = f"/webhooks/{webhook['id']}"
    assert made["secret"].startswith("whsec_")
    assert made["secret"] not in str(Webhook.objects.values().get())
    assert made["secret"] not in str(list(Event.objects.values()))
    assert api.get("/webhooks")["webhooks"] == [webhook]
    assert api.get(path)["webhook"] == webhook
    assert set(webhook) & {"secret", "secret_sealed"} == set()
    delivery = api.post(f"{path}/actions/test")["delivery"]
    assert (delivery["status"], delivery["kind"]) == ("queued", "webhook.test")
    Sender().send_all_due()
    (logged,) = api.get(f"{path}/deliveries?status=delivered")["deliveries"]
    assert (logged["response_status"], logged["response"], logged["tries"]) == (200, "thanks", 1)
    again = api.post(f"{path}/deliveries/{logged['id']}/actions/redeliver")["delivery"]
    assert (again["message_id"], again["status"]) == (logged["message_id"], "queued")
    one_more = f"{path}/deliveries/{logged['id']}/actions/redeliver"
    assert api.refused("POST", one_more) == (409, "conflict")
    rotated = api.post(f"{path}/actions/rotate_secret")
    assert rotated["secret"] == unseal(Webhook.objects.get().secret_sealed) != made["secret"]
    off = api.put(path, {"active": False, "kinds": []})["webhook"]
    assert (off["active"], off["kinds"], off["name"]) == (False, [], "billing")
    assert api.refused("POST", f"{path}/actions/test") == (409, "conflict")
    api.delete(path)
    assert not Webhook.objects.exists()


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://example.com/"},
        {"url": "https://u:p@example.com/"},
        {"kinds": ["server"]},
        {"kinds": ["*"]},
        {"kinds": "server.*"},
        {"name": ""},
        {"name": "a\tb\x00"},
        {"secret": "mine"},
        {"project": 1},
    ],
)
def test_what_is_wrong_is_refused(world: World, api: Api, wrong: dict[str, object]) -> None:
    assert api.refused("POST", "/webhooks", {**BODY, **wrong}) == (422, "invalid_input")
    assert not Webhook.objects.exists()


def test_limits(world: World, api: Api) -> None:
    api.post("/webhooks", BODY)
    assert api.refused("POST", "/webhooks", BODY) == (409, "uniqueness_error")
    for number in range(19):
        api.post("/webhooks", {**BODY, "name": f"w{number}"})
    code = "resource_limit_exceeded"
    assert api.refused("POST", "/webhooks", {**BODY, "name": "more"})[1] == code
    stranger = program(project_of_charlie(world))
    assert stranger.get("/webhooks")["webhooks"] == []
    stranger.post("/webhooks", BODY)
    reader = program(world.project, may_write=False, name="reader")
    assert len(reader.get("/webhooks")["webhooks"]) == 20
    Account.objects.filter(pk=world.project.account_id).update(suspended_at=timezone.now())
    assert api.refused("POST", "/webhooks", {**BODY, "name": "s"})[1] == "forbidden"
