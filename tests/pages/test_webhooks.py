"""The pages of webhooks."""

from __future__ import annotations

import re

from django.test import Client
from django.urls import reverse
from django.utils import timezone

from tests.world import World
from vpspanel.webhooks.models import Delivery, Webhook

LIST, ADD = reverse("webhooks:list"), reverse("webhooks:add")
FORM = {"name": "billing", "url": "https://example.com/hook", "kinds": "server.*\naction.finished"}


def test_making_trying_and_ending_one(world: World, alice: Client) -> None:
    assert b"No webhooks yet" in alice.get(LIST).content
    made = alice.post(ADD, FORM)
    assert "no-store" in made["Cache-Control"]
    secret = re.search(r'id="webhook-secret"[^>]*>([^<]+)<', made.content.decode())
    assert secret is not None
    webhook = Webhook.objects.get()
    assert webhook.kinds == ["server.*", "action.finished"]
    show = reverse("webhooks:show", args=[webhook.pk])
    assert "Nothing was sent yet" in alice.get(show).content.decode()
    page = alice.post(reverse("webhooks:test", args=[webhook.pk]), follow=True).content.decode()
    assert "webhook.test" in page
    assert secret[1] not in page + alice.get(LIST).content.decode()
    delivery = Delivery.objects.get()
    Delivery.objects.update(
        state="failed", last_status=500, last_answer="<script>alert(1)</script>", last_took_ms=3
    )
    page = alice.get(show).content.decode()
    assert "500 after 3 ms" in page
    assert "<script>alert" not in page
    alice.post(reverse("webhooks:redeliver", args=[webhook.pk, delivery.pk]))
    assert Delivery.objects.get().state == "queued"
    rotated = alice.post(reverse("webhooks:rotate", args=[webhook.pk])).content.decode()
    assert "The former secret signs as well until" in rotated
    alice.post(reverse("webhooks:change", args=[webhook.pk]), {**FORM, "kinds": ""})
    assert Webhook.objects.get().kinds == []
    alice.post(reverse("webhooks:switch", args=[webhook.pk]))
    assert not Webhook.objects.get().active
    alice.post(reverse("webhooks:delete", args=[webhook.pk]))
    assert not Webhook.objects.exists()


def test_what_is_wrong_is_told_beside_the_field(world: World, alice: Client) -> None:
    response = alice.post(ADD, {**FORM, "url": "https://127.0.0.1:22/"})
    assert response.status_code == 422
    assert "The port must be 80, 443 or from 1024 on." in response.content.decode()
    assert not Webhook.objects.exists()


def test_the_log_costs_the_same_however_long_it_is(
    world: World, alice: Client, django_assert_max_num_queries: object
) -> None:
    alice.post(ADD, FORM)
    webhook = Webhook.objects.get()
    now = timezone.now()
    for _ in range(30):
        alice.post(reverse("webhooks:test", args=[webhook.pk]))
    Delivery.objects.update(state="delivered", last_at=now, last_status=200, last_took_ms=5)
    with django_assert_max_num_queries(9):  # type: ignore[operator]
        page = alice.get(reverse("webhooks:show", args=[webhook.pk]))
    assert page.content.decode().count("Send again") == 25
