"""Staff offer an ISO: a worker fetches it, and says why if it cannot."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Permission
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from hosts import library
from hosts.models import Image, ImageStatus
from tests.hosts.images.web_server import Site, serving
from tests.servers.test_isos import iso_file, make_iso
from tests.world import World, make_user, work
from vpspanel.actions.models import Action, ActionState
from vpspanel.errors import Refused
from vpspanel.events.actor import SYSTEM
from vpspanel.events.models import Event
from vpspanel.servers import iso_offer_steps
from vpspanel.servers.images import visible_isos
from vpspanel.servers.iso_offers import offer_iso, withdraw_iso

pytestmark = pytest.mark.both_databases

FORM = "admin:hosts_image_add"
CONTENT = iso_file()
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ANY = "a" * 64  # names of tests must not depend on the moment at which that file was made


@pytest.fixture
def url() -> Iterator[str]:
    (library.image_dir() / "downloads" / "installer.iso").unlink(missing_ok=True)
    with serving(Site()) as site:
        site.files["/installer.iso"] = CONTENT
        yield f"{site.url}/installer.iso"


def sign_in(client: Client, *permissions: str) -> None:
    staff = make_user("staff@example.com")
    staff.is_staff = True
    staff.save()
    staff.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client.force_login(staff)


def row() -> Image:
    return Image.objects.get(name="installer")


def test_the_form_has_it_fetched_by_a_worker(world: World, client: Client, url: str) -> None:
    sign_in(client, "add_image", "view_image")
    data = {"name": "installer", "description": "Installer", "url": url, "sha256": SHA256}
    page = client.post(reverse(FORM), data, follow=True).content.decode()
    assert "is being fetched" in page
    assert "Waiting for a worker" in page
    assert row().status == ImageStatus.UNAVAILABLE
    work()
    assert list(visible_isos()) == [row()]
    assert (row().description, row().sha256, row().progress_step) == ("Installer", SHA256, "")
    assert Action.objects.get(command="fetch_iso").state == ActionState.SUCCESS
    assert Event.objects.get(kind="iso.offered").actor_name


def test_a_failure_is_shown_with_its_reason(world: World, client: Client, url: str) -> None:
    offer_iso(SYSTEM, name="installer", url=url, sha256="0" * 64)
    work()
    action = Action.objects.get(command="fetch_iso")
    assert (action.state, action.error_code) == (ActionState.ERROR, "checksum_mismatch")
    assert not visible_isos().exists()
    sign_in(client, "view_image")
    page = client.get(reverse("admin:hosts_image_changelist")).content.decode()
    assert "does not have the sha256" in page
    assert "unavailable" in page


@pytest.mark.parametrize(
    ("name", "address", "sha256", "said"),
    [
        ("Installer", "https://example.com/a.iso", ANY, "small letters"),
        ("installer", "https://example.com/a.iso", "abc", "64 hex digits"),
        ("installer", "file:///etc/passwd", ANY, "not an http or https address"),
        ("installer", "https://me:secret@example.com/a.iso", ANY, "credentials"),
        ("tiny", "https://example.com/a.iso", ANY, "is an image, and no ISO"),
    ],
)
def test_what_cannot_be_right_is_refused_at_once(
    world: World, client: Client, name: str, address: str, sha256: str, said: str
) -> None:
    sign_in(client, "add_image", "view_image")
    data = {"name": name, "url": address, "sha256": sha256}
    assert said in client.post(reverse(FORM), data).content.decode()
    assert not Action.objects.exists()
    assert not Image.objects.filter(type="iso").exists()


def test_one_that_is_offered_stays_so_until_the_new_one_is_there(world: World, url: str) -> None:
    old = make_iso("installer", iso_file(label="OLD"))
    offer_iso(SYSTEM, name="installer", url=f"{url}-missing", sha256=SHA256)
    with pytest.raises(Refused, match="fetch iso is not finished"):
        offer_iso(SYSTEM, name="installer", url=url, sha256=SHA256)
    work()
    assert (row().sha256, row().status) == (old.sha256, ImageStatus.AVAILABLE)
    assert "404" in row().error
    offer_iso(SYSTEM, name="installer", url=url, sha256=SHA256)
    work()
    assert (row().pk, row().sha256, row().error) == (old.pk, SHA256, "")


def test_it_is_withdrawn_and_offered_again(world: World, client: Client, url: str) -> None:
    iso = make_iso("installer", CONTENT)
    sign_in(client, "view_image", "change_image")
    chosen = {"action": "withdraw", "_selected_action": [iso.pk]}
    page = client.post(reverse("admin:hosts_image_changelist"), chosen, follow=True)
    assert "is withdrawn" in page.content.decode()
    assert not visible_isos().exists()
    with pytest.raises(Refused, match="not offered"):
        withdraw_iso(SYSTEM, row())
    with pytest.raises(Refused, match="no ISO"):
        withdraw_iso(SYSTEM, world.images[0])
    offer_iso(SYSTEM, name="installer", url=url, sha256=SHA256)
    work()
    assert list(visible_isos()) == [row()]


@pytest.mark.parametrize("late", [False, True], ids=["on the way", "when it is there"])
def test_a_download_is_called_off(
    world: World, url: str, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    offer_iso(SYSTEM, name="installer", url=url, sha256=SHA256)
    fetch = library.fetch_iso

    def withdrawn_meanwhile(*args: str, **options: object) -> Image:
        if late:
            fetch(*args, **options)  # type: ignore[arg-type]
        withdraw_iso(SYSTEM, row())
        return fetch(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(iso_offer_steps, "fetch_iso", withdrawn_meanwhile)
    work()
    Action.objects.filter(state=ActionState.RUNNING).update(run_after=timezone.now())
    work()
    action = Action.objects.get(command="fetch_iso")
    assert (action.state, action.error_code) == (ActionState.ERROR, "cancelled")
    assert (row().status, row().error) == (ImageStatus.UNAVAILABLE, "It was cancelled.")


def test_who_may_only_look_cannot_add_or_withdraw(world: World, client: Client) -> None:
    iso = make_iso()
    sign_in(client, "view_image")
    assert client.get(reverse(FORM)).status_code == 403
    assert client.post(reverse(FORM), {"name": "x"}).status_code == 403
    chosen = {"action": "withdraw", "_selected_action": [iso.pk]}
    client.post(reverse("admin:hosts_image_changelist"), chosen)
    assert list(visible_isos()) == [iso]
