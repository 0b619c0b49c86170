"""Events arrive: signed, once if possible, and again until they are taken."""

from __future__ import annotations

import json
import threading
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from standardwebhooks import Webhook as Verifier

from tests.webhooks.receiver import Receiver, listening
from tests.world import World, work
from vpspanel.accounts.models import Account
from vpspanel.accounts.services import open_account
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.events.services import record_event
from vpspanel.servers.services import power_off
from vpspanel.webhooks import sender
from vpspanel.webhooks.handout import hand_out
from vpspanel.webhooks.models import Delivery, DeliveryState, Webhook
from vpspanel.webhooks.outgoing import Answer
from vpspanel.webhooks.sender import Sender, claim_due, forget_old_deliveries
from vpspanel.webhooks.services import create_webhook, redeliver, rotate_secret, update_webhook


def happen(world: World, kind: str = "server.started", **more: Any) -> Event:
    """Something in Alice's project."""
    wanted: dict[str, Any] = {"resource": ("server", 7), "project_id": world.project.pk}
    return record_event(kind, "It happened", **{**wanted, **more})


def test_an_order_is_told_as_standard_webhooks_has_it(world: World, hook: Receiver) -> None:
    made = listening(world, hook.url, kinds=["server.*", "create.success"])
    server = world.running("web")
    assert Sender().send_all_due() == 2
    told = []
    for _, headers, body in hook.got:
        told.append(Verifier(made.secret).verify(body, headers))
    kinds = [message["type"] for message in told]
    assert len(kinds) == len({headers["webhook-id"] for _, headers, _ in hook.got})
    events = Event.objects.filter(project_id=world.project.pk, public=True).order_by("pk")
    assert kinds == [
        event.kind for event in events if event.kind in ("server.ordered", "create.success")
    ]
    assert told[-1]["data"]["resource"] == {"type": "server", "id": server.pk}
    assert not Delivery.objects.exclude(state=DeliveryState.DELIVERED).exists()
    assert Sender().send_all_due() == 0


def test_who_is_told(world: World) -> None:
    """The project's own, its account's and the reseller's above it; nobody else."""
    assert world.charlie.user is not None
    theirs = open_account(user=world.charlie.user, name="Reseller", actor=world.charlie)
    reseller = theirs.account
    Account.objects.filter(pk=world.project.account_id).update(parent=reseller)
    account = Account.objects.get(pk=world.project.account_id)
    make: dict[str, Any] = {"actor": world.alice, "url": "https://example.com/"}
    mine = create_webhook(**make, owner=world.project, name="mine").webhook
    some = create_webhook(**make, owner=world.project, name="some", kinds=["server.stopped"])
    whole = create_webhook(**{**make, "actor": SYSTEM}, owner=account, name="whole").webhook
    above = create_webhook(**{**make, "actor": SYSTEM}, owner=reseller, name="above").webhook
    create_webhook(world.charlie, url="https://example.com/", owner=theirs, name="other")
    Delivery.objects.all().delete()
    begun = Event.objects.latest("pk").pk
    Webhook.objects.update(after_event=begun)
    happen(world)
    happen(world, public=False)
    happen(world, project_id=None)
    hand_out()
    assert set(Delivery.objects.values_list("webhook", "event__kind")) == {
        (webhook.pk, "server.started") for webhook in (mine, whole, above)
    }
    happen(world, "server.stopped")
    hand_out()
    assert some.webhook.deliveries.count() == 1


def test_one_that_is_off_is_not_told_later(world: World, hook: Receiver) -> None:
    webhook = listening(world, hook.url).webhook
    happen(world)
    hand_out()
    update_webhook(world.alice, webhook, active=False)
    happen(world)
    Sender().send_all_due()
    update_webhook(world.alice, webhook, active=True)
    happen(world, "server.stopped")
    Sender().send_all_due()
    assert [json.loads(body)["type"] for _, _, body in hook.got][-1] == "server.stopped"
    assert b"server.started" not in b"".join(body for _, _, body in hook.got)


def test_what_fails_is_tried_again_with_growing_pauses(world: World, hook: Receiver) -> None:
    webhook = listening(world, hook.url, kinds=["server.started"]).webhook
    happen(world)
    pauses = []
    hook.answers = [(500, {}, b"")] * (len(sender.PAUSES) + 1)
    for _ in range(len(sender.PAUSES) + 1):
        Delivery.objects.update(due=timezone.now())
        assert Sender().send_all_due() == 1
        delivery = Delivery.objects.get()
        pauses.append((delivery.due - timezone.now()).total_seconds())
    assert (delivery.state, delivery.tries, delivery.last_status) == ("failed", 10, 500)
    for pause, planned in zip(pauses, sender.PAUSES, strict=False):
        assert planned * 0.7 < pause <= planned * 1.2
    webhook.refresh_from_db()
    assert webhook.failing_since is not None
    assert len({headers["webhook-id"] for _, headers, _ in hook.got}) == 1
    redeliver(world.alice, delivery)
    assert Sender().send_all_due() == 1
    delivery.refresh_from_db()
    webhook.refresh_from_db()
    assert delivery.state == "delivered"
    assert webhook.failing_since is None


def test_a_receiver_may_ask_for_patience_or_for_nothing_more(world: World, hook: Receiver) -> None:
    webhook = listening(world, hook.url, kinds=["server.started"]).webhook
    happen(world)
    hook.answers = [(429, {"Retry-After": "600"}, b""), (410, {}, b"")]
    Sender().send_all_due()
    assert Delivery.objects.get().due > timezone.now() + timedelta(seconds=590)
    Delivery.objects.update(due=timezone.now())
    Sender().send_all_due()
    webhook.refresh_from_db()
    assert not webhook.active
    assert "410" in webhook.ended_reason
    assert Event.objects.filter(kind="webhook.turned_off").exists()


def test_nothing_arrives_for_days(world: World, hook: Receiver) -> None:
    webhook = listening(world, hook.url, kinds=["server.started"]).webhook
    hook.answers = [(500, {}, b"")]
    Webhook.objects.update(failing_since=timezone.now() - timedelta(days=6))
    happen(world)
    Sender().send_all_due()
    webhook.refresh_from_db()
    assert (webhook.active, Delivery.objects.get().state) == (False, "failed")


def test_two_secrets_sign_for_a_day(world: World, hook: Receiver) -> None:
    old = listening(world, hook.url)
    new = rotate_secret(world.alice, old.webhook)
    happen(world)
    Sender().send_all_due()
    _, headers, body = hook.got[-1]
    for secret in (old.secret, new.secret):
        Verifier(secret).verify(body, headers)
    Webhook.objects.update(old_secret_until=timezone.now())
    happen(world)
    Sender().send_all_due()
    assert len(hook.got[-1][1]["webhook-signature"].split()) == 1


def test_a_sender_that_died_in_between_loses_nothing(world: World, hook: Receiver) -> None:
    listening(world, hook.url, kinds=["server.started"])
    happen(world)
    hand_out()
    taken = claim_due([])
    assert taken is not None
    assert claim_due([]) is None
    Delivery.objects.update(due=timezone.now())
    assert Sender().send_all_due() == 1
    delivered = Delivery.objects.get()
    sender.send(taken, lambda *_: Answer(500, "late", None, 1))  # it was only frozen
    delivered.refresh_from_db()
    assert (delivered.state, delivered.last_status, delivered.tries) == ("delivered", 200, 1)


def test_old_entries_of_the_log_go(world: World) -> None:
    listening(world)
    happen(world)
    happen(world)
    hand_out()
    waiting, done = Delivery.objects.all()[:2]
    Delivery.objects.filter(pk=done.pk).update(state="delivered")
    assert forget_old_deliveries(timezone.now()) == 0
    assert forget_old_deliveries(timezone.now() + sender.LOG_KEPT * 2) == 1
    assert Delivery.objects.filter(pk=waiting.pk).exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.both_databases
def test_a_slow_receiver_slows_nobody_else(world: World, hook: Receiver) -> None:
    """The real thing: its threads, a real server started, and one receiver that hangs."""
    server = world.running("web")
    free = threading.Event()
    slow = listening(world, f"{hook.url}&slow=1", name="slow").webhook
    quick = listening(world, hook.url, kinds=["power_off.*"]).webhook

    def hang(path: str) -> None:
        if "slow" in path:
            free.wait(10)

    hook.before_answer = hang
    running = Sender()
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        for _ in range(12):
            happen(world)
        power_off(world.alice, server.pk)
        work()
        end = timezone.now() + timedelta(seconds=20)
        while quick.deliveries.exclude(state="delivered").exists() or not quick.deliveries.exists():
            assert timezone.now() < end
            hook.arrived.acquire(timeout=0.1)
        assert slow.deliveries.filter(state="queued").count() > 10
        assert slow.deliveries.filter(attempt__gt=0).count() <= sender.PER_WEBHOOK
    finally:
        free.set()
        running.stop()
        thread.join()
