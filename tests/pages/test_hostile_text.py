"""Whatever people write is shown as text, on every page that shows it."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from tests.accounts.test_keys import ED25519
from tests.world import World
from vpspanel.accounts.services import add_ssh_key
from vpspanel.events.services import record_event
from vpspanel.servers.models import Server

CORPUS = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{7*7}}{% debug %}",
    "${7*7}#{7*7}",
    "</title><svg onload=alert(1)>",
    "javascript:alert(1)",
    "&lt;b&gt;",
    "]]><x/>",
    "%s %(name)s {name}",
]


class Page(HTMLParser):
    """What a browser would make of it: tags, handlers, addresses that run script."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.bad: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        for name, value in attrs:
            scripted = name in ("href", "src", "action", "formaction") and re.match(
                r"\s*(javascript|data):", value or "", re.IGNORECASE
            )
            if name.startswith("on") or name == "style" or scripted:
                self.bad.append(f"<{tag} {name}={value}>")


@pytest.mark.parametrize("text", CORPUS)
def test_on_every_page(world: World, alice: Client, text: str) -> None:
    server = world.running()
    key = add_ssh_key(world.alice, project=world.project, name="k", public_key=ED25519)
    pages = [
        *(reverse(f"servers:{name}") for name in ("list", "order")),
        *(
            reverse(f"servers:{name}", args=[server.pk])
            for name in ("show", "rename", "rebuild", "delete", "power_off", "change_protection")
        ),
        reverse("keys:list"),
        reverse("keys:add"),
        reverse("keys:delete", args=[key.pk]),
        f"{reverse('servers:list')}?q={text}",
    ]
    plain = [Page(alice.get(address).content.decode()) for address in pages]
    # Past the services, which would refuse most of it.
    Server.objects.filter(pk=server.pk).update(
        name=text[:63], suspended_at=timezone.now(), suspended_reason=text
    )
    world.project.ssh_keys.update(name=text[:80])
    type(world.project).objects.update(name=text)
    type(world.images[0]).objects.update(description=text)
    record_event("server.note", text, resource=("server", server.pk), actor=world.alice)
    for address, before in zip(pages, plain, strict=True):
        body = alice.get(address).content.decode()
        page = Page(body)
        assert page.bad == [], address
        assert page.tags.count("script") == before.tags.count("script"), address
        assert "svg onload" not in body.replace(escape("<svg onload=alert(1)>"), "")
        assert "49" not in re.findall(r"<h1[^>]*>([^<]*)", body)
    shown = alice.get(pages[2]).content.decode()
    assert escape(text) in shown


def test_typed_text_comes_back_as_text(world: World, alice: Client) -> None:
    for text in CORPUS:
        response = alice.post(reverse("servers:order"), {"name": text, "user_data": text})
        assert response.status_code == 422
        assert Page(response.content.decode()).bad == []
        assert escape(text) in response.content.decode()


@pytest.mark.parametrize("kind", ["ten kilobytes", "right to left", "nul"])
def test_odd_text_breaks_nothing(world: World, alice: Client, kind: str) -> None:
    text = {"ten kilobytes": "x" * 10_000, "right to left": "a\u202eb", "nul": "a\0b"}[kind]
    server = world.running()
    address = reverse("servers:rename", args=[server.pk])
    assert alice.post(address, {"name": text}).status_code == 422
    assert alice.get(reverse("servers:list"), {"q": text}).status_code == 200
    response = alice.post(reverse("keys:add"), {"public_key": ED25519, "name": text})
    assert response.status_code == 422
