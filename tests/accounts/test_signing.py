"""Signing up, in and out, and the way back for those who forgot their password."""

from __future__ import annotations

import re

import pytest
from django.core import mail
from django.test import Client
from django.urls import reverse

from vpspanel.accounts.models import Account, Member, Role, User
from vpspanel.events.models import Event

pytestmark = pytest.mark.django_db

EMAIL = "dora@example.org"
PASSWORD = "correct horse battery"
SIGN_UP = {"email": EMAIL, "password1": PASSWORD, "password2": PASSWORD}


def signed_in(client: Client) -> bool:
    return client.get(reverse("servers:list")).status_code == 200


@pytest.fixture
def dora(client: Client) -> Client:
    client.post(reverse("account_signup"), SIGN_UP)
    return client


def test_signing_up_opens_an_account_with_a_project(client: Client) -> None:
    response = client.post(reverse("account_signup"), SIGN_UP, follow=True)
    assert response.status_code == 200
    assert signed_in(client)
    member = Member.objects.select_related("project__account").get(user__email=EMAIL)
    assert member.role == Role.OWNER
    assert member.project.account.name == EMAIL
    event = Event.objects.get(kind="account.opened")
    assert (event.actor_name, event.ip) == (EMAIL, "127.0.0.1")
    assert User.objects.get(email=EMAIL).password != PASSWORD


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"password1": "short", "password2": "short"}, "too short"),
        ({"password1": "password123", "password2": "password123"}, "too common"),
        ({"password2": "something else"}, "same password"),
        ({"email": "nobody"}, "valid email"),
        ({"email": ""}, "required"),
    ],
)
def test_what_is_wrong_is_told(client: Client, changes: dict[str, str], said: str) -> None:
    response = client.post(reverse("account_signup"), {**SIGN_UP, **changes})
    assert said in response.content.decode()
    assert b"is-invalid" in response.content
    assert Account.objects.count() == 0
    assert User.objects.count() == 0


def test_an_account_that_fails_leaves_no_user(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: object) -> None:
        raise RuntimeError("the database went away")

    monkeypatch.setattr("vpspanel.accounts.adapter.open_account", fail)
    client.raise_request_exception = False
    assert client.post(reverse("account_signup"), SIGN_UP).status_code == 500
    assert User.objects.count() == 0


def test_signing_out_takes_a_click(dora: Client) -> None:
    assert dora.get(reverse("account_logout")).status_code == 200
    assert signed_in(dora)
    dora.post(reverse("account_logout"))
    assert not signed_in(dora)


def test_signing_in_and_being_brought_back(dora: Client) -> None:
    dora.post(reverse("account_logout"))
    wanted = reverse("keys:list")
    sent = dora.get(wanted)
    assert sent["Location"] == f"{reverse('account_login')}?next={wanted}"
    response = dora.post(sent["Location"], {"login": EMAIL, "password": PASSWORD, "next": wanted})
    assert response["Location"] == wanted


def test_nobody_is_sent_to_another_site(dora: Client) -> None:
    dora.post(reverse("account_logout"))
    login = {"login": EMAIL, "password": PASSWORD, "next": "https://evil.example/"}
    assert dora.post(reverse("account_login"), login)["Location"] == "/"


def test_a_wrong_password_and_an_unknown_address_look_the_same(dora: Client) -> None:
    dora.post(reverse("account_logout"))
    dora.get(reverse("account_login"))  # shows what was left to be said
    pages = []
    for login in (EMAIL, "nobody@example.org"):
        response = dora.post(reverse("account_login"), {"login": login, "password": "wrong"})
        assert response.status_code == 200
        page = re.sub(r'name="csrfmiddlewaretoken" value="\w+"', "", response.content.decode())
        pages.append(page.replace(login, "X"))
    assert pages[0] == pages[1]
    assert "not correct" in pages[0]


def test_a_new_password_by_mail(dora: Client) -> None:
    dora.post(reverse("account_logout"))
    mail.outbox.clear()
    response = dora.post(reverse("account_reset_password"), {"email": EMAIL}, follow=True)
    assert b"Look into your mail" in response.content
    found = re.search(r"http://testserver(/\S+)", str(mail.outbox[0].body))
    assert found
    page = dora.get(found.group(1), follow=True)
    assert b"Set a new password" in page.content
    action = page.request["PATH_INFO"]
    new = {"password1": "another long secret", "password2": "another long secret"}
    assert b"is set" in dora.post(action, new, follow=True).content
    again = Client()
    assert b"This link does not work" in again.get(found.group(1), follow=True).content
    again.post(reverse("account_login"), {"login": EMAIL, "password": PASSWORD})
    assert not signed_in(again)
    again.post(reverse("account_login"), {"login": EMAIL, "password": new["password1"]})
    assert signed_in(again)


def test_asking_for_an_unknown_address_tells_nothing(client: Client) -> None:
    response = client.post(
        reverse("account_reset_password"), {"email": "nobody@example.org"}, follow=True
    )
    assert b"Look into your mail" in response.content


def test_changing_the_password_ends_other_sessions(dora: Client) -> None:
    other = Client()
    other.post(reverse("account_login"), {"login": EMAIL, "password": PASSWORD})
    assert signed_in(other)
    change = {
        "oldpassword": PASSWORD,
        "password1": "another long one",
        "password2": "another long one",
    }
    dora.post(reverse("account_change_password"), change)
    assert not signed_in(other)


@pytest.mark.parametrize("name", ["account_email", "account_change_password", "account_logout"])
def test_the_account_pages_have_the_panels_frame(dora: Client, name: str) -> None:
    page = dora.get(reverse(name)).content.decode()
    assert 'class="skip-link"' in page
    assert "Menu:" not in page


def test_somebody_deactivated_is_out_at_once(dora: Client) -> None:
    User.objects.filter(email=EMAIL).update(is_active=False)
    assert not signed_in(dora)
