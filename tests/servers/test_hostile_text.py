"""Whatever people type is stored as text or refused, and is one text node for libvirt."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest
import yaml
from lxml import etree

from hosts.models import IPAddress
from hosts.virt.xml import domain_xml
from tests.hosts.test_xml_golden import schema
from tests.world import World, work
from vpspanel.errors import Refused
from vpspanel.servers import services
from vpspanel.servers.blueprint import Blueprint, Secrets
from vpspanel.servers.models import Server

GRAMMAR = schema("domain")  # libvirt's own, as its VALIDATE flag applies it

HOSTILE = [
    "<script>alert(1)</script>",
    "\"'><img src=x onerror=alert(1)>",
    "</title><devices><disk type='file'/></devices>",
    "]]><!--",
    "&lol;<!DOCTYPE x [<!ENTITY lol 'x'>]>",
    "{{7*7}}${7*7}%s%(x)s#{7*7}",
    "web\u202egnp.exe",
    "x" * 10_240,
    "a\x00b",
    "a\x1b[2Jb",
    "$(reboot)`reboot`;reboot",
    "../../etc/passwd",
    "name: x\nruncmd: [reboot]",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_name_is_a_host_name_or_refused(world: World, text: str) -> None:
    with pytest.raises(Refused) as refused:
        world.order(text)
    assert (refused.value.code, refused.value.field) == ("invalid_input", "name")
    server = world.running("web")
    with pytest.raises(Refused):
        services.rename(world.alice, server.pk, name=text)
    assert Server.objects.get().name == "web"


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_the_domain_carries_text_as_one_node(world: World, text: str) -> None:
    server = world.running("web")
    server.name = text  # as if a later rule let it in
    assert server.host is not None
    addresses = tuple(IPAddress.objects.filter(owner=server.uuid).select_related("pool"))
    spec = Blueprint(server, server.host, addresses).domain()
    if not text.isprintable() and "\u202e" not in text:
        with pytest.raises(ValueError, match=r"XML|character|control"):
            domain_xml(spec)
        return
    document = domain_xml(spec)
    assert GRAMMAR.validate(etree.fromstring(document)), str(GRAMMAR.error_log)
    root = ET.fromstring(document)  # noqa: S314 - our own
    assert len(root.findall("devices")) == 1
    assert len(root.findall("devices/disk")) == 2
    title = root.find("title")
    assert title is not None
    assert list(title) == []
    assert title.text == text


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_the_seed_carries_text_as_one_scalar(world: World, text: str) -> None:
    server = world.running("web")
    server.name = text
    server.authorized_keys = [f"ssh-ed25519 AAAA {text}"]
    assert server.host is not None
    addresses = tuple(IPAddress.objects.filter(owner=server.uuid).select_related("pool"))
    files = Blueprint(server, server.host, addresses).seed_files(Secrets(root_password_hash="$6$x"))
    meta = yaml.safe_load(files["meta-data"])
    assert meta["local-hostname"] == text
    assert meta["public-keys"] == [f"ssh-ed25519 AAAA {text}"]
    vendor = yaml.safe_load(files["vendor-data"])
    assert set(vendor) == {"disable_root", "ssh_pwauth", "updates", "chpasswd"}


def test_user_data_is_cloud_config_or_refused(world: World) -> None:
    for text in ("#cloud-config\nruncmd: {", "x" * 40_000, "#cloud-config\n- a\n", "hello"):
        with pytest.raises(Refused) as refused:
            world.order("web", user_data=text)
        assert refused.value.field == "user_data"
    ordered = world.order("web", user_data="#cloud-config\npackages: ['<script>']\n")
    assert b"script" not in bytes(ordered.server.user_data_sealed)
    work()
    assert Server.objects.get().lifecycle == "active"
