"""The demo: one command after which a server can be ordered, and which breaks nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from io import StringIO
from itertools import count

import pytest
from allauth.account.models import EmailAddress
from django.conf import settings
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse

from hosts.images.errors import ImageError, ImageErrorCode
from hosts.models import Host, Image, IPPool, Location, StagedImage, StoragePool
from hosts.virt.fake import FakeDriver
from hosts.virt.registry import driver_for
from hosts.virt.spec import NetworkSpec
from tests.world import work
from vpspanel.accounts.models import Project, User
from vpspanel.events.actor import Actor
from vpspanel.servers import demo as demo_module
from vpspanel.servers.demo import CUSTOMER_EMAIL, PLANS, STAFF_EMAIL, choose_network
from vpspanel.servers.models import Server, ServerType
from vpspanel.servers.ordering import order_server

_numbers = count(1)


@pytest.fixture
def uri(transactional_db: None) -> Iterator[str]:
    """A simulated machine of its own for each test."""
    uri = f"fake:///demo{next(_numbers)}?cpus=2&memory_mib=4096&disk_gib=20"
    yield uri
    driver = driver_for(uri)
    assert isinstance(driver, FakeDriver)
    driver.wipe()


def run(uri: str, *options: str) -> str:
    out = StringIO()
    call_command("demo", "--uri", uri, *options, stdout=out, stderr=StringIO())
    return out.getvalue()


def test_after_it_the_customer_can_order(uri: str) -> None:
    run(uri)
    user = User.objects.get(email=CUSTOMER_EMAIL)
    ordered = order_server(
        Actor(user, "page"),
        project=Project.objects.get(members__user=user),
        name="first",
        server_type=ServerType.objects.get(name="nano"),
        image=Image.objects.get(name="tiny"),
        location=Location.objects.get(),
    )
    work()
    server = Server.objects.get(pk=ordered.server.pk)
    assert (server.lifecycle, server.power_seen) == ("active", "running")
    addresses = [ip.address.address for ip in server.primary_ips.all()]
    assert addresses[0].endswith(".2")
    assert addresses[1].endswith(":1::/64")


def test_twice_is_once(uri: str) -> None:
    run(uri)
    counts = [model.objects.count() for model in (Host, IPPool, ServerType, User, Project, Image)]
    Host.objects.update(vcpus_limit=1)
    ServerType.objects.filter(name="nano").update(memory_mib=192)
    StoragePool.objects.update(accepting=False)
    hashes = list(User.objects.order_by("pk").values_list("password", flat=True))
    assert "as it was" in run(uri)
    assert counts == [
        model.objects.count() for model in (Host, IPPool, ServerType, User, Project, Image)
    ]
    assert Host.objects.get().vcpus_limit == 1
    assert ServerType.objects.get(name="nano").memory_mib == 192
    assert StoragePool.objects.get().accepting is False
    assert list(User.objects.order_by("pk").values_list("password", flat=True)) == hashes


def test_json_is_for_scripts_and_has_fresh_passwords(uri: str, client: Client) -> None:
    first, second = (json.loads(run(uri, "--json")) for _ in range(2))
    assert first["address"].startswith("http://127.0.0.1:")
    assert (second["driver"], second["host"]["uri"]) == ("fake", uri)
    assert {"name": "tiny", "status": "available"} in second["images"]
    for who in ("staff", "customer"):
        assert first[who]["password"] != second[who]["password"]
        user = User.objects.get(email=second[who]["email"])
        assert user.check_password(second[who]["password"])
        assert not user.check_password(first[who]["password"])
    form = {"login": STAFF_EMAIL, "password": second["staff"]["password"]}
    client.post(reverse("account_login"), form)
    assert client.get(reverse("admin:index")).status_code == 200


def test_passwords_are_shown_once_and_can_be_reset(uri: str) -> None:
    first = run(uri)
    assert "These passwords are shown only now." in first
    assert "shown only now" not in run(uri)
    assert "shown only now" in run(uri, "--reset-passwords")
    assert EmailAddress.objects.filter(verified=True, primary=True).count() == 2


def test_the_smallest_plan_fits_a_small_machine(uri: str) -> None:
    run(uri)
    host, pool, plan = Host.objects.get(), StoragePool.objects.get(), PLANS[0]
    assert host.memory_limit_mib >= 8 * plan.memory_mib
    assert pool.limit_gib >= 8 * plan.disk_gib
    assert all(
        price.hourly_micros for plan in ServerType.objects.all() for price in plan.prices.all()
    )


def test_the_image_lies_on_the_host_already(uri: str) -> None:
    run(uri)
    assert StagedImage.objects.get().sha256 == Image.objects.get(name="tiny").sha256


def test_passwords_are_not_lost_when_the_image_fails(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise ImageError(ImageErrorCode.MISSING_PACKAGE, "apt-get install mmdebstrap")

    monkeypatch.setattr(demo_module, "stage", fail)
    told = run(uri)
    assert "There is no image yet: missing_package: apt-get install mmdebstrap" in told
    assert "These passwords are shown only now." in told


def test_addresses_come_from_the_network_that_is_there(uri: str) -> None:
    there = NetworkSpec("vpspanel", "vpspanel0", "10.80.9.1/24", "fd80:9::1/48")
    driver_for(uri).ensure_network(there)
    run(uri)
    assert IPPool.objects.get(family=4).network == "10.80.9.0/24"
    assert IPPool.objects.get(family=6).gateway == "fd80:9::1"


def test_networks_in_use_on_this_machine_are_avoided(monkeypatch: pytest.MonkeyPatch) -> None:
    free = choose_network("vpspanel0").ipv4_gateway
    assert free.startswith("10.80.")
    monkeypatch.setattr(demo_module, "IPV4_CHOICES", ("127.0.0.0/24", "203.0.113.0/24"))
    assert choose_network("vpspanel0").ipv4_gateway == "203.0.113.1/24"


def test_from_simulated_to_real_hosts_and_back(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run(uri)
    assert Host.objects.get().name == "simulated"
    monkeypatch.setattr(settings, "VPSPANEL_DRIVER", "libvirt")
    monkeypatch.setattr(
        demo_module, "provide_image", lambda name, say: Image.objects.get(name=name)
    )
    monkeypatch.setattr(demo_module, "stage", lambda driver, pool, image: None)
    run(uri.replace("demo", "real"))
    selling = dict(Host.objects.values_list("name", "accepting"))
    assert selling == {"simulated": False, "this-machine": True}
    assert Image.objects.get(name="tiny").status == "unavailable"  # nothing empty on real hosts
    monkeypatch.setattr(settings, "VPSPANEL_DRIVER", "fake")
    run(uri)
    selling = dict(Host.objects.values_list("name", "accepting"))
    assert selling == {"simulated": True, "this-machine": False}


def test_it_is_not_for_production(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings, "PRODUCTION", True)
    with pytest.raises(CommandError, match="not for production"):
        run(uri)
    assert not User.objects.exists()


def test_a_host_that_does_not_answer_is_told(transactional_db: None) -> None:
    with pytest.raises(CommandError, match="is not the address of a KVM host"):
        run("xen:///")
