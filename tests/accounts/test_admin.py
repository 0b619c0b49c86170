"""People's pages: powers are handed out by superusers only, and every change is recorded."""

from __future__ import annotations

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission
from django.core import mail
from django.test import Client
from django.urls import reverse

from tests.world import World, make_user, make_world
from vpspanel.accounts.models import Member, Project, User
from vpspanel.events.models import Event


@pytest.fixture
def world(db: None) -> World:
    return make_world()


@pytest.fixture
def clerk(world: World, client: Client) -> User:
    """A staff member who may change users, and nothing more."""
    user = make_user("clerk@example.com")
    User.objects.filter(pk=user.pk).update(is_staff=True)
    codenames = ("view_user", "change_user", "add_user", "delete_user")
    user.user_permissions.set(Permission.objects.filter(codename__in=codenames))
    client.force_login(user)
    return user


def page(user: User) -> str:
    return reverse("admin:accounts_user_change", args=[user.pk])


def test_a_clerk_hands_out_no_powers(clerk: User, world: World, client: Client) -> None:
    bob = world.bob.user
    assert bob is not None
    form = {
        "email": "bob@example.com", "first_name": "Bob", "is_active": "on", "is_staff": "on",
        "is_superuser": "on", "user_permissions": [Permission.objects.latest("pk").pk],
    }  # fmt: skip
    assert client.post(page(bob), form).status_code == 302
    bob.refresh_from_db()
    assert (bob.first_name, bob.is_staff, bob.is_superuser) == ("Bob", False, False)
    assert not bob.user_permissions.exists()


def test_a_clerk_takes_over_no_superuser(clerk: User, client: Client) -> None:
    root = User.objects.create_superuser("root@example.com", "secret")
    assert client.post(page(root), {"email": "mine@example.com"}).status_code == 403
    password = reverse("admin:auth_user_password_change", args=[root.pk])
    form = {"password1": "correct-horse-9", "password2": "correct-horse-9"}
    assert client.post(password, form).status_code == 403
    root.refresh_from_db()
    assert root.check_password("secret")


def test_a_clerk_does_not_raise_himself(clerk: User, client: Client) -> None:
    assert client.post(page(clerk), {"email": clerk.email, "is_superuser": "on"}).status_code == 403
    clerk.refresh_from_db()
    assert not clerk.is_superuser


def test_a_changed_address_leaves_the_old_one_no_way_in(clerk: User, world: World) -> None:
    """Else whoever reads the old mailbox could still set a new password."""
    bob = world.bob.user
    assert bob is not None
    EmailAddress.objects.create(user=bob, email=bob.email, verified=True, primary=True)
    staff = Client()
    staff.force_login(clerk)
    old = bob.email
    assert staff.post(page(bob), {"email": "new@example.com", "is_active": "on"}).status_code == 302
    Client().post(reverse("account_reset_password"), {"email": old})
    assert [message.to for message in mail.outbox if "/password/reset/" in message.body] == []
    Client().post(reverse("account_reset_password"), {"email": "new@example.com"})
    assert ["new@example.com"] in [message.to for message in mail.outbox]


def test_a_clerk_gives_no_powers_to_his_group(clerk: User, client: Client) -> None:
    group = Group.objects.create(name="clerks")
    clerk.groups.add(group)
    codenames = ("view_group", "change_group", "add_group", "delete_group")
    clerk.user_permissions.add(*Permission.objects.filter(codename__in=codenames))
    form = {"name": "clerks", "permissions": [Permission.objects.latest("pk").pk]}
    change = reverse("admin:auth_group_change", args=[group.pk])
    assert client.post(change, form).status_code == 403
    assert client.post(reverse("admin:auth_group_add"), form).status_code == 403
    assert not group.permissions.exists()
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    assert client.post(change, form).status_code == 302
    assert group.permissions.exists()
    assert "Permissions" in Event.objects.get(kind="staff.group_changed").message


def test_addresses_are_shown_and_not_given_away(clerk: User, client: Client) -> None:
    """A confirmed address of one's own on a superuser would be a way to his password."""
    root = User.objects.create_superuser("root@example.com", "secret")
    clerk.user_permissions.add(
        *Permission.objects.filter(
            content_type__app_label="account", content_type__model="emailaddress"
        )
    )
    form = {"user": root.pk, "email": "mine@example.com", "verified": "on", "primary": "on"}
    assert client.post(reverse("admin:account_emailaddress_add"), form).status_code == 403
    assert client.get(reverse("admin:account_emailaddress_changelist")).status_code == 200
    assert not EmailAddress.objects.exists()


def test_nobody_is_deleted(world: World, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    assert world.bob.user is not None
    delete = reverse("admin:accounts_user_delete", args=[world.bob.user.pk])
    assert client.post(delete, {"post": "yes"}).status_code == 403


def test_a_superuser_adds_and_raises_people_and_events_say_so(world: World, client: Client) -> None:
    root = User.objects.create_superuser("root@example.com", "secret")
    client.force_login(root)
    form = {
        "email": "new@example.com", "usable_password": "true",
        "password1": "correct-horse-9", "password2": "correct-horse-9",
    }  # fmt: skip
    assert client.post(reverse("admin:accounts_user_add"), form).status_code == 302
    new = User.objects.get(email="new@example.com")
    assert new.check_password("correct-horse-9")
    form = {"email": "new@example.com", "is_active": "on", "is_staff": "on"}
    assert client.post(page(new), form).status_code == 302
    new.refresh_from_db()
    assert new.is_staff
    kinds = list(Event.objects.filter(resource_type="user").order_by("pk").values_list("kind"))
    assert kinds == [("staff.user_added",), ("staff.user_changed",)]
    event = Event.objects.get(kind="staff.user_changed")
    assert "Staff status" in event.message
    assert (event.actor_id, event.via, event.public) == (root.pk, "admin", False)


def test_members_are_changed_with_an_event(world: World, client: Client) -> None:
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    project = Project.objects.get(pk=world.project.pk)
    member = Member.objects.get(project=project, user=world.bob.user)
    others = list(project.members.exclude(pk=member.pk).order_by("pk"))
    form = {"name": project.name, "members-TOTAL_FORMS": 3, "members-INITIAL_FORMS": 3}
    for number, row in enumerate([member, *others]):
        prefix = f"members-{number}"
        form |= {f"{prefix}-id": row.pk, f"{prefix}-project": project.pk}
        form |= {f"{prefix}-user": row.user_id, f"{prefix}-role": row.role}
    form["members-0-role"] = "admin"
    change = reverse("admin:accounts_project_change", args=[project.pk])
    assert client.post(change, form).status_code == 302
    member.refresh_from_db()
    assert member.role == "admin"
    assert "Role for member" in Event.objects.get(kind="staff.project_changed").message
    form["members-1-DELETE"] = "on"
    form["name"] = "Renamed"
    assert client.post(change, form).status_code == 302
    told = Event.objects.filter(project_id=project.pk, via="admin", public=True).order_by("pk")
    assert [(event.kind, event.message) for event in told] == [
        (
            "project.member_changed",
            f"Project {world.project.name} has a changed member: bob@example.com (admin)",
        ),
        ("project.renamed", "Project Renamed was renamed"),
        (
            "project.member_removed",
            f"Project Renamed has lost a member: {others[0].user} ({others[0].role})",
        ),
    ]
    assert told[0].data == {"user": "bob@example.com", "role": "admin"}


def test_staff_sign_in_on_the_common_page(db: None, client: Client) -> None:
    answer = client.get(reverse("admin:login"))
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(reverse("account_login"))
