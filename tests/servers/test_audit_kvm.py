"""The audit on a real host: a whole life leaves nothing, and nothing foreign is touched."""

from __future__ import annotations

import re

import libvirt
import pytest

from hosts.virt.registry import driver_for
from tests.audit import assert_clean
from tests.kvm import kvm_host
from tests.servers.drifting import look
from tests.servers.real_world import POOL, real
from tests.world import World, work
from vpspanel.actions.models import Action
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import services
from vpspanel.servers.audit import audit
from vpspanel.servers.drift import repair
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.models_drift import Difference

pytestmark = pytest.mark.qemu

__all__ = ["kvm_host", "real"]

FOREIGN = """
<domain type='qemu'><name>windows-xp</name><memory unit='MiB'>32</memory>
<os><type arch='x86_64' machine='q35'>hvm</type></os></domain>
"""


def test_a_whole_life_leaves_nothing(real: World) -> None:
    server = real.running("web")
    assert_clean()
    services.rebuild(real.alice, server.pk, image=real.images[1])
    work()
    assert not Action.objects.exclude(state="success").exists()
    assert_clean()
    services.power_off(real.alice, server.pk)
    work()
    assert_clean()
    services.delete(real.alice, server.pk)
    work()
    server.refresh_from_db()
    assert server.lifecycle == Lifecycle.DELETED
    assert_clean()
    left = {volume.name for volume in driver_for(real.host.uri).volumes(POOL)}
    assert left == {image.volume for image in real.images}
    assert driver_for(real.host.uri).filters() == []


def test_damage_on_a_real_host(real: World) -> None:
    gone, server = real.running("gone"), real.running("web")
    driver = driver_for(real.host.uri)
    services.delete(real.alice, gone.pk)
    work()
    connection = libvirt.open(real.host.uri)
    foreign = connection.defineXML(FOREIGN)
    driver.write_volume(POOL, gone.seed_volume, b"left", capacity_bytes=1024)
    driver.write_volume(POOL, "holiday.iso", b"sun", capacity_bytes=1024)
    domain = connection.lookupByUUID(server.uuid.bytes)
    domain.setAutostart(True)
    report = audit()
    assert report.codes() == {"disk_leftover", "autostart"}
    assert {f.code for f in report.findings if f.level == "info"} == {
        "domain_foreign",
        "volume_foreign",
    }
    repaired = audit(repair=True)
    assert [finding.code for finding in repaired.repaired] == ["disk_leftover"]
    assert repaired.codes() == {"autostart"}
    assert "holiday.iso" in {volume.name for volume in driver.volumes(POOL)}
    assert foreign.isActive() == 0
    foreign.undefine()
    domain.setAutostart(False)
    assert_clean()
    domain.destroy()
    domain.undefine()
    connection.close()
    assert audit().codes() == {"domain_missing"}
    services.delete(real.alice, Server.objects.get(name="web").pk)
    work()
    assert_clean()


def test_somebody_with_virsh(real: World) -> None:
    """What was changed in a definition is found, and put right while the guest runs."""
    server = real.running("web")
    connection = libvirt.open(real.host.uri)
    domain = connection.lookupByUUID(server.uuid.bytes)
    changed = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    changed = re.sub("<(serial|console) .*?</(serial|console)>", "", changed, flags=re.DOTALL)
    changed = re.sub("<graphics .*?</graphics>", "", changed, flags=re.DOTALL)
    changed = changed.replace(server.mac, "52:54:00:00:00:99")
    connection.defineXML(re.sub("<memory .*?</memory>", "<memory>65536</memory>", changed))
    look()
    look()
    row = Difference.objects.get(level="error")
    assert row.code == "domain_definition"
    for words in ("64 MiB of memory", "52:54:00:00:00:99", "no serial port", "no screen"):
        assert words in row.message
    repair(SYSTEM, row)
    work()
    assert_clean()
    assert domain.isActive()
    connection.close()
    services.delete(real.alice, server.pk)
    work()
    assert_clean()
