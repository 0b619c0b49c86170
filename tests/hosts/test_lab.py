"""Real hosts over SSH: enrolled with a confirmed key, refused with any other."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from io import StringIO
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command

from hosts.enrol import enroll_host
from hosts.errors import EnrolError
from hosts.keys import confirm_key, known_key, write_known_hosts
from hosts.models import Host, HostStatus, Location
from hosts.models_fleet import KnownHostKey
from hosts.probing import Outcome, Plan, look_over
from hosts.virt.errors import HostUnreachable, WrongHost
from hosts.virt.libvirt import LibvirtDriver
from hosts.virt.registry import close_all
from hosts.virt.spec import DiskSpec, DomainSpec
from hosts.virt.ssh import HostKey, ask_host_key
from tests.hosts.contract import BOOT_IMAGE, wait_until
from tests.hosts.rfb import EXTENDED_KEYS, Client
from tests.lab import Lab, LabHost
from vpspanel.servers.lab import enrol_lab_host

pytestmark = [pytest.mark.lab, pytest.mark.django_db(transaction=True)]


@pytest.fixture
def location(db: None) -> Iterator[Location]:
    yield Location.objects.create(name="lab")
    close_all()
    KnownHostKey.objects.all().delete()
    write_known_hosts()


def run(*arguments: str) -> str:
    out = StringIO()
    call_command(*arguments, stdout=out, stderr=out)
    return out.getvalue()


def add(host: LabHost, *more: str, name: str = "") -> str:
    where = ("--uri", host.uri, "--location", "lab", "--bridge", "br0")
    return run("host_add", name or host.name, *where, *more)


def test_a_host_is_added_over_ssh_once_its_fingerprint_is_confirmed(
    lab: Lab, location: Location
) -> None:
    first = lab.hosts[0]
    with pytest.raises(CommandError, match=r"ssh-keygen -lf .* then: --fingerprint"):
        add(first)
    with pytest.raises(CommandError, match="not SHA256:wrong"):
        add(first, "--fingerprint", "SHA256:wrong")
    assert not Host.objects.exists()
    said = add(first, "--fingerprint", first.fingerprint)
    assert f"{first.name} answers in" in said
    assert "bridges: br0" in said
    assert "the panel" in next(line for line in said.splitlines() if "Clock" in line)
    host = Host.objects.get()
    assert (host.name, host.status, host.bridge) == (first.name, HostStatus.REACHABLE, "br0")
    assert host.hostname == first.name


def test_three_hosts_are_three_machines(lab: Lab, location: Location) -> None:
    for one in lab.hosts:
        enrol_lab_host(one.kvm.dir, location)
    assert len(set(Host.objects.values_list("host_uuid", flat=True))) == len(lab.hosts)


def test_the_same_machine_under_a_second_name_is_refused(lab: Lab, location: Location) -> None:
    """CHECKS 44"""
    first = lab.hosts[0]
    add(first, "--fingerprint", first.fingerprint)
    other_way = first.uri.replace("/system", ":22/system")
    with pytest.raises(CommandError, match=f"enrolled already, as {first.name}"):
        run("host_add", "again", "--uri", other_way, "--location", "lab", "--bridge", "br0")
    with pytest.raises(EnrolError, match=f"enrolled already, as {first.name}"):
        enroll_host(name="again", location=location, uri=other_way, bridge="br0")
    assert Host.objects.count() == 1


def test_a_changed_host_key_is_refused_until_staff_replace_it(lab: Lab, location: Location) -> None:
    """CHECKS 45"""
    last = lab.hosts[-1]
    add(last, "--fingerprint", last.fingerprint)
    last.new_host_key()
    close_all()
    new = changed_key(last)
    driver = LibvirtDriver(last.uri)
    with pytest.raises(WrongHost, match="cannot prove to be this host"):
        driver.probe()
    with pytest.raises(WrongHost, match="cannot prove"):  # also while the breaker is open
        driver.probe()
    driver.close()
    with pytest.raises(CommandError, match=r"(?s)but SHA256:.* was confirmed .*--replace-key"):
        add(last, "--fingerprint", new.fingerprint)
    add(last, "--fingerprint", new.fingerprint, "--replace-key")
    known = known_key(last.uri)
    assert known is not None
    assert known.fingerprint == new.fingerprint
    put_right(last)


def changed_key(host: LabHost) -> HostKey:
    """What it shows once its sshd has read the new key."""

    def shows_another() -> bool:
        with contextlib.suppress(HostUnreachable):  # it starts itself anew
            return ask_host_key(host.uri).fingerprint != host.fingerprint
        return False

    wait_until(shows_another, 30, "sshd has the new key")
    return ask_host_key(host.uri)


def put_right(host: LabHost) -> None:
    """What later tests are told of the host is true again."""
    env = host.kvm.dir / "env"
    env.write_text(env.read_text().replace(host.fingerprint, ask_host_key(host.uri).fingerprint))


def test_a_missing_bridge_is_named_with_its_cure(lab: Lab, location: Location) -> None:
    first = lab.hosts[0]
    confirm_key(first.uri, ask_host_key(first.uri), by="test")
    plan = Plan("new", first.uri, "vpspanel", bridge="br7")
    steps = {step.title: step for step in look_over(plan)}
    assert steps["Network"].outcome is Outcome.MISSING
    assert steps["Network"].cure.startswith("ip link add br7 type bridge")
    assert {step.outcome for title, step in steps.items() if title != "Network"} <= {
        Outcome.GOOD,
        Outcome.NOTE,
    }


def test_a_panel_without_its_key_there_is_told_what_to_do(lab: Lab, location: Location) -> None:
    first = lab.hosts[0]
    keys = first.kvm.dir / "etc" / "ssh" / "authorized_keys"
    confirm_key(first.uri, ask_host_key(first.uri), by="test")
    kept = keys.read_text()
    keys.write_text("")
    try:
        (step,) = look_over(Plan("new", first.uri, "vpspanel", bridge="br0"))
    finally:
        keys.write_text(kept)
    assert step.outcome is Outcome.MISSING
    assert "authorized_keys" in step.cure


async def test_both_consoles_work_on_such_a_host(lab: Lab, location: Location) -> None:
    first = lab.hosts[0]
    spec = await asyncio.to_thread(_guest, first, location)
    driver = LibvirtDriver(first.uri)
    try:
        async with asyncio.timeout(60):
            stream = await driver.open_serial(spec.uuid)
            await stream.write(b"x")
            seen = b""
            while b"x" not in seen:
                seen += await stream.read()
            await stream.close()
            screen = Client()
            await driver.open_vnc(spec.uuid, screen)
            await screen.handshake(EXTENDED_KEYS)
            await screen.update()
        assert screen.picture.width >= 320
    finally:
        await asyncio.to_thread(_remove, driver, spec)


def _guest(host: LabHost, location: Location) -> DomainSpec:
    """A guest that echoes what is typed."""
    enrol_lab_host(host.kvm.dir, location)
    driver = LibvirtDriver(host.uri)
    uuid = uuid4()
    driver.write_volume("vpspanel", f"{uuid}.raw", BOOT_IMAGE, capacity_bytes=len(BOOT_IMAGE))
    spec = DomainSpec(
        uuid=uuid,
        name=f"echo-{uuid}",
        vcpus=1,
        memory_mib=32,
        disks=(DiskSpec("vpspanel", f"{uuid}.raw", "vda", "raw"),),
        nics=(),
        virt_type="qemu",
        metadata={"server": "1"},
    )
    driver.define(spec)
    driver.start(spec.uuid)
    log = host.kvm.dir / "log" / "vpspanel" / f"vps-{uuid}.log"
    wait_until(lambda: b"ready" in log.read_bytes(), 60, "the guest has booted")
    driver.close()
    return spec


def _remove(driver: LibvirtDriver, spec: DomainSpec) -> None:
    driver.destroy(spec.uuid)
    driver.undefine(spec.uuid)
    driver.delete_volume("vpspanel", f"{spec.uuid}.raw")
    driver.close()
