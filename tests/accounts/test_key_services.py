"""Adding and deleting keys: who may, and what is kept."""

from __future__ import annotations

import pytest
from model_bakery import baker

from tests.accounts.test_keys import ED25519, security_key
from vpspanel.accounts.models import Member, Project, Role, SSHKey, User
from vpspanel.accounts.services import (
    KEYS_PER_PROJECT,
    add_ssh_key,
    delete_ssh_key,
    open_account,
)
from vpspanel.errors import NotFound, Refused
from vpspanel.events.actor import SYSTEM, Actor
from vpspanel.events.models import Event

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Actor:
    return Actor(User.objects.create_user("alice@example.org"), "page", "192.0.2.7")


@pytest.fixture
def project(alice: Actor) -> Project:
    assert alice.user is not None
    return open_account(user=alice.user, name="Alice", actor=alice)


def member(project: Project, role: Role) -> Actor:
    user = User.objects.create_user(f"{role}@example.org")
    Member.objects.create(project=project, user=user, role=role)
    return Actor(user, "page")


def test_a_key_is_kept_without_its_comment(alice: Actor, project: Project) -> None:
    key = add_ssh_key(alice, project=project, name="  my   laptop ", public_key=ED25519)
    key.refresh_from_db()
    assert key.name == "my laptop"
    assert key.public_key == ED25519.rsplit(" ", 1)[0]
    event = Event.objects.get(kind="ssh_key.added")
    assert (event.actor_name, event.ip) == ("alice@example.org", "192.0.2.7")


def test_without_a_name_it_has_its_comment(alice: Actor, project: Project) -> None:
    assert add_ssh_key(alice, project=project, name="", public_key=ED25519).name == "alice@laptop"


def test_the_same_key_twice_is_refused_by_the_name_it_has(alice: Actor, project: Project) -> None:
    add_ssh_key(alice, project=project, name="laptop", public_key=ED25519)
    with pytest.raises(Refused, match="already, as “laptop”") as refusal:
        add_ssh_key(alice, project=project, name="again", public_key=ED25519)
    assert (refusal.value.code, refusal.value.field) == ("uniqueness_error", "public_key")


def test_the_same_name_twice_is_refused(alice: Actor, project: Project) -> None:
    add_ssh_key(alice, project=project, name="laptop", public_key=ED25519)
    other = security_key("sk-ssh-ed25519@openssh.com")
    with pytest.raises(Refused) as refusal:
        add_ssh_key(alice, project=project, name="laptop", public_key=other)
    assert (refusal.value.code, refusal.value.field) == ("uniqueness_error", "name")
    assert SSHKey.objects.count() == 1


def test_two_projects_may_have_the_same_key(alice: Actor, project: Project) -> None:
    add_ssh_key(alice, project=project, name="laptop", public_key=ED25519)
    assert alice.user is not None
    other = open_account(user=alice.user, name="Second", actor=alice)
    add_ssh_key(alice, project=other, name="laptop", public_key=ED25519)
    assert SSHKey.objects.count() == 2


@pytest.mark.parametrize("role", [Role.OWNER, Role.ADMIN, Role.OPERATOR])
def test_who_works_in_the_project_may(project: Project, role: Role) -> None:
    key = add_ssh_key(member(project, role), project=project, name="k", public_key=ED25519)
    assert key.pk


def test_a_reader_may_not(alice: Actor, project: Project) -> None:
    key = add_ssh_key(alice, project=project, name="k", public_key=ED25519)
    reader = member(project, Role.READER)
    with pytest.raises(Refused, match="Your role"):
        add_ssh_key(reader, project=project, name="k2", public_key=ED25519)
    with pytest.raises(Refused, match="Your role"):
        delete_ssh_key(reader, project=project, key_id=key.pk)
    assert SSHKey.objects.count() == 1


def test_a_stranger_sees_no_project(alice: Actor, project: Project) -> None:
    key = add_ssh_key(alice, project=project, name="k", public_key=ED25519)
    charlie = Actor(User.objects.create_user("charlie@example.org"), "page")
    with pytest.raises(NotFound):
        add_ssh_key(charlie, project=project, name="k2", public_key=ED25519)
    with pytest.raises(NotFound):
        delete_ssh_key(charlie, project=project, key_id=key.pk)


def test_the_key_of_another_project_is_not_found(alice: Actor, project: Project) -> None:
    assert alice.user is not None
    other = open_account(user=alice.user, name="Second", actor=alice)
    key = add_ssh_key(alice, project=other, name="k", public_key=ED25519)
    with pytest.raises(NotFound):
        delete_ssh_key(alice, project=project, key_id=key.pk)


def test_deleting_leaves_an_event(alice: Actor, project: Project) -> None:
    key = add_ssh_key(alice, project=project, name="k", public_key=ED25519)
    delete_ssh_key(alice, project=project, key_id=key.pk)
    assert not SSHKey.objects.exists()
    assert Event.objects.filter(kind="ssh_key.deleted").count() == 1


def test_a_project_has_so_many_keys_and_no_more(project: Project) -> None:
    for number in range(KEYS_PER_PROJECT):
        baker.make(SSHKey, project=project, name=f"k{number}", fingerprint=f"{number}")
    with pytest.raises(Refused) as refusal:
        add_ssh_key(SYSTEM, project=project, name="one more", public_key=ED25519)
    assert refusal.value.code == "resource_limit_exceeded"


@pytest.mark.parametrize("name", ["a" * 81, "bell\x07", "right\u202eleft"])
def test_names_that_would_not_show_are_refused(project: Project, name: str) -> None:
    with pytest.raises(Refused) as refusal:
        add_ssh_key(SYSTEM, project=project, name=name, public_key=ED25519)
    assert refusal.value.field == "name"


def test_nobody_is_not_the_operator(project: Project) -> None:
    """A page's actor without a user is a visitor, who may do nothing."""
    with pytest.raises(NotFound):
        add_ssh_key(Actor(None, "page"), project=project, name="", public_key=ED25519)
    add_ssh_key(Actor(None, "command"), project=project, name="", public_key=ED25519)
