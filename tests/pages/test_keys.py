"""The pages of SSH keys."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse

from tests.accounts.test_keys import ED25519
from tests.world import World
from vpspanel.accounts.models import SSHKey
from vpspanel.accounts.services import add_ssh_key

LIST, ADD = reverse("keys:list"), reverse("keys:add")


def test_adding_and_deleting(world: World, alice: Client) -> None:
    assert b"No keys yet" in alice.get(LIST).content
    response = alice.post(ADD, {"public_key": ED25519, "name": ""}, follow=True)
    assert response.redirect_chain == [(LIST, 302)]
    key = SSHKey.objects.get()
    page = response.content.decode()
    assert "alice@laptop" in page
    assert key.fingerprint_sha256 in page
    question = alice.get(reverse("keys:delete", args=[key.pk])).content.decode()
    assert "Delete alice@laptop?" in question
    alice.post(reverse("keys:delete", args=[key.pk]))
    assert not SSHKey.objects.exists()


def test_what_is_wrong_is_told_beside_the_field(world: World, alice: Client) -> None:
    response = alice.post(ADD, {"public_key": "ssh-dss AAAA", "name": "old"})
    assert response.status_code == 422
    page = response.content.decode()
    assert "DSA keys are no longer accepted" in page
    assert 'value="old"' in page
    assert "ssh-dss AAAA" in page


PRIVATE = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n"


@pytest.mark.parametrize(
    "form",
    [
        {"public_key": PRIVATE, "name": "oops"},
        {"public_key": PRIVATE, "name": "much too long " * 10},
        {"public_key": PRIVATE + "A" * 20_000, "name": "oops"},
        {"public_key": ED25519, "name": PRIVATE * 2},
    ],
    ids=["a refused key", "a name that is too long", "a key that is too long", "the wrong field"],
)
def test_a_private_key_is_not_sent_back(world: World, alice: Client, form: dict[str, str]) -> None:
    response = alice.post(ADD, form)
    assert response.status_code == 422
    assert b"b3BlbnNzaC1rZXktdjE" not in response.content


def test_whoever_pastes_a_private_key_is_warned(world: World, alice: Client) -> None:
    response = alice.post(ADD, {"public_key": PRIVATE, "name": "oops"})
    assert b"treat it as exposed" in response.content


def test_a_reader_is_told_why_not(world: World, bob: Client) -> None:
    for response in (bob.get(ADD), bob.post(ADD, {"public_key": ED25519, "name": ""})):
        assert response.status_code == 403
        assert b"is reader; this needs operator." in response.content
    assert not SSHKey.objects.exists()


def test_a_reader_sees_them(world: World, bob: Client) -> None:
    add_ssh_key(world.alice, project=world.project, name="laptop", public_key=ED25519)
    assert b"laptop" in bob.get(LIST).content
