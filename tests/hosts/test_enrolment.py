"""Enrolment in the admin: staff ask, the monitor does it, each step can be watched."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any
from uuid import uuid4

import asyncssh
import pytest
from django.test import Client
from django.urls import reverse

from hosts import enrolment as enrolments
from hosts.enrolment import carry_on
from hosts.keys import known_key, panel_key, write_known_hosts
from hosts.models import Host, Location
from hosts.models_fleet import Enrolment, EnrolmentState, KnownHostKey
from hosts.virt import ssh
from hosts.virt.errors import HostUnreachable
from hosts.virt.fake import FakeDriver
from hosts.virt.registry import driver_for
from hosts.virt.ssh import HostKey
from vpspanel.accounts.models import User
from vpspanel.events.models import Event

LIST = reverse("admin:hosts_enrolment_changelist")
_numbers = count(1)


@pytest.fixture
def root(db: None, client: Client) -> Client:
    client.force_login(User.objects.create_superuser("root@example.com", "secret"))
    return client


@pytest.fixture
def location(db: None) -> Location:
    return Location.objects.create(name="here")


@pytest.fixture
def uri() -> Iterator[str]:
    uri = f"fake:///desk{next(_numbers)}"
    yield uri
    driver = driver_for(uri)
    assert isinstance(driver, FakeDriver)
    driver.wipe()


@pytest.fixture
def remote(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostKey]:
    """The host key of a machine that is asked over SSH."""
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip()
    made = HostKey(key)
    monkeypatch.setattr(enrolments, "ask_host_key", lambda uri: made)
    yield made
    KnownHostKey.objects.all().delete()
    write_known_hosts()


def ask(root: Client, location: Location, uri: str, **changes: Any) -> Enrolment:
    form: dict[str, Any] = {
        "name": f"kvm-{uuid4().hex[:6]}",
        "location": location.pk,
        "uri": uri,
        "bridge": "br0",
        "network_bridge": "vpspanel0",
        "pool_name": "vpspanel",
        "pool_path": "/pool",
        "vcpus_per_cpu": "4",
    }
    answer = root.post(reverse("admin:hosts_enrolment_add"), {**form, **changes})
    assert answer.status_code == 302, answer.content.decode()
    return Enrolment.objects.latest("pk")


def press(root: Client, enrolment: Enrolment, action: str) -> Enrolment:
    form = {"action": action, "_selected_action": [enrolment.pk], "index": 0}
    assert root.post(LIST, form).status_code == 302
    enrolment.refresh_from_db()
    return enrolment


def page(root: Client, enrolment: Enrolment) -> str:
    where = reverse("admin:hosts_enrolment_change", args=[enrolment.pk])
    return root.get(where).content.decode()


def work(enrolment: Enrolment) -> Enrolment:
    carry_on(enrolment)
    enrolment.refresh_from_db()
    return enrolment


def test_from_the_form_to_the_host(root: Client, location: Location, uri: str) -> None:
    asked = ask(root, location, uri)
    assert asked.state == EnrolmentState.LOOKING
    assert "data-reload" in page(root, asked)
    found = work(asked)
    assert found.state == EnrolmentState.FOUND
    shown = page(root, found)
    assert "This is a simulated host" in shown
    assert "data-reload" not in shown
    assert not Host.objects.exists()
    assert press(root, found, "enrol").state == EnrolmentState.ENROLLING
    done = work(found)
    assert (done.state, done.host) == (EnrolmentState.ENROLLED, Host.objects.get())
    assert done.host is not None
    assert done.host.vcpus_limit == 16
    assert Event.objects.filter(kind__startswith="staff.enrolment", public=False).count() >= 2


def test_a_host_key_is_believed_only_after_staff_confirmed_it(
    root: Client, location: Location, remote: HostKey, django_capture_on_commit_callbacks: Any
) -> None:
    uri = "qemu+ssh://root@192.0.2.1/system"
    asked = work(ask(root, location, uri))
    assert asked.state == EnrolmentState.CONFIRM
    assert remote.fingerprint in page(root, asked)
    assert known_key(uri) is None
    with django_capture_on_commit_callbacks(execute=True):
        assert press(root, asked, "confirm_key").state == EnrolmentState.LOOKING
    known = known_key(uri)
    assert known is not None
    assert (known.fingerprint, known.confirmed_by) == (remote.fingerprint, "root@example.com")
    home = ssh.home()
    assert home is not None
    assert f"192.0.2.1 {remote.public_key}" in home.known_hosts.read_text()


def test_a_withdrawn_host_key_is_forgotten_at_once(
    root: Client, location: Location, remote: HostKey, django_capture_on_commit_callbacks: Any
) -> None:
    asked = work(ask(root, location, "qemu+ssh://root@192.0.2.1/system"))
    press(root, asked, "confirm_key")
    known = KnownHostKey.objects.get()
    where = reverse("admin:hosts_knownhostkey_delete", args=[known.pk])
    with django_capture_on_commit_callbacks(execute=True):
        assert root.post(where, {"post": "yes"}).status_code == 302
    home = ssh.home()
    assert home is not None
    assert home.known_hosts.read_text() == ""


def test_what_is_missing_stands_in_the_way(root: Client, location: Location, uri: str) -> None:
    found = work(ask(root, location, uri, bridge=""))
    assert "guests would have none" in page(root, found)
    assert press(root, found, "enrol").state == EnrolmentState.FOUND
    assert not Host.objects.exists()


def test_a_silent_machine_can_be_asked_again(root: Client, location: Location, uri: str) -> None:
    driver = driver_for(uri)
    assert isinstance(driver, FakeDriver)
    driver.inject("probe", HostUnreachable)
    found = work(ask(root, location, uri))
    assert [step["outcome"] for step in found.steps] == ["missing"]
    assert press(root, found, "look_again").state == EnrolmentState.LOOKING
    assert len(work(found).steps) > 5


def test_the_same_machine_under_a_second_name_is_refused(
    root: Client, location: Location, uri: str
) -> None:
    first = work(ask(root, location, uri))
    press(root, first, "enrol")
    work(first)
    second = work(ask(root, location, f"{uri}?latency_ms=0"))
    assert f"enrolled already, as {first.name}" in page(root, second)
    assert press(root, second, "enrol").state == EnrolmentState.FOUND
    assert Host.objects.count() == 1


def test_the_form_refuses_what_cannot_be(root: Client, location: Location) -> None:
    for changes, words in (
        ({"uri": "xen:///"}, "not the address of a KVM host"),
        ({"network": "vpspanel"}, "not both"),
        ({"bridge": "", "network": "vpspanel"}, "addresses of the host on it"),
    ):
        form = {"name": "a", "location": location.pk, "uri": "fake:///a", "bridge": "br0"}
        answer = root.post(reverse("admin:hosts_enrolment_add"), {**form, **changes})
        assert words in answer.content.decode()


def test_the_panels_key_is_shown_where_hosts_are_added(root: Client) -> None:
    shown = root.get(reverse("admin:hosts_enrolment_add")).content.decode()
    assert panel_key() in shown
    assert "PRIVATE" not in shown
