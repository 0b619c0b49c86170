"""The audit finds every kind of damage, changes nothing unasked, and repairs what is safe only."""

from __future__ import annotations

import io
import json
from uuid import uuid4

import pytest
from django.core.management import call_command

from hosts.models import (
    Family,
    IPAddress,
)
from hosts.virt.errors import CallTimeout, HostUnreachable
from hosts.virt.spec import DiskSpec, DomainSpec
from tests.audit import assert_clean
from tests.servers.damage import (
    CASES,
    Case,
    bury,
    count_too_many_servers,
    count_too_much,
    domain_of,
    everything,
    filter_named,
    keep_the_address_of_a_deleted_one,
    leave_a_disk,
    leave_a_filter,
    leave_a_guest_that_is_off,
    on_hosts,
    put_a_disk_of_nobody,
)
from tests.servers.drifting import look, wrong
from tests.world import World
from vpspanel.servers import services
from vpspanel.servers.audit import audit
from vpspanel.servers.drift import RESTORED
from vpspanel.servers.models import Lifecycle, Server
from vpspanel.servers.models_drift import Difference

pytestmark = pytest.mark.both_databases


def test_a_healthy_panel_is_clean(world: World) -> None:
    world.running()
    bury(world)
    report = assert_clean()
    assert report.hosts == (world.host.name,)
    assert report.findings == ()


def test_a_panel_at_work_is_clean(world: World) -> None:
    """What an open action has half done is no damage."""
    server = world.running()
    services.delete(world.alice, server.pk)
    world.driver().outside_undefine(server.uuid)
    world.driver().delete_volume("vpspanel", server.disk_volume())
    world.order("next")
    assert_clean()


@pytest.mark.parametrize("case", CASES)
def test_each_kind_of_damage(world: World, case: Case) -> None:
    server = world.running()
    case.do(world, server)
    before = everything(world)
    report = audit()
    assert report.codes() == case.codes
    assert not report.is_clean
    look()
    assert set(wrong().values()) == {"suspected"}
    look()
    # One host alone does not show that a guest is on another one as well.
    assert wrong() == dict.fromkeys(case.codes - {"domain_twice"}, "open")
    for row in Difference.objects.filter(level="error"):
        assert bool(row.remedy) == (case.is_safe or row.code in RESTORED), row.code
    assert everything(world) == before, "looking changed something"
    repaired = audit(repair=True)
    if case.is_safe:
        assert {finding.code for finding in repaired.repaired} == case.codes
        assert repaired.is_clean
        assert_clean()
        assert world.driver().domain(server.uuid) is not None
    else:
        assert repaired.repaired == ()
        assert repaired.codes() == case.codes
        assert everything(world) == before, "what is not safe was repaired"


def test_everything_at_once(world: World) -> None:
    """All that is safe is repaired although there is other damage beside it."""
    server = world.running()
    for do in (leave_a_disk, leave_a_filter, leave_a_guest_that_is_off):
        gone = bury(world, do.__name__.replace("_", "-"))
        world.driver().add_foreign_volume("vpspanel", gone.disk_volume(), 4096)
        world.driver().ensure_filter(filter_named(gone.filter_name))
        world.driver().define(domain_of(gone))
    put_a_disk_of_nobody(world, server)
    count_too_much(world, server)
    count_too_many_servers(world, server)
    report = audit(repair=True)
    assert len(report.repaired) == 11
    assert report.codes() == {"disk_unknown"}


def test_what_is_foreign_is_listed_and_left_alone(world: World) -> None:
    world.running()
    driver = world.driver()
    driver.add_foreign_domain("windows-xp", running=True)
    driver.add_foreign_domain("vps-mine", running=False)
    driver.add_foreign_volume("vpspanel", "holiday.iso", 4096)
    driver.add_foreign_volume("vpspanel", "vps-no-uuid.qcow2", 4096)
    driver.add_foreign_volume("vpspanel", "img-unknown.qcow2", 4096)
    before = on_hosts()
    report = audit(repair=True)
    assert report.is_clean
    assert sorted(finding.code for finding in report.findings) == [
        "domain_foreign",
        "domain_foreign",
        "image_unrecorded",
        "volume_foreign",
        "volume_foreign",
    ]
    assert on_hosts() == before


def test_a_silent_host_is_not_called_clean(world: World) -> None:
    gone = bury(world)
    address = IPAddress.objects.filter(family=Family.V4).latest("pk")
    IPAddress.objects.filter(pk=address.pk).update(owner=gone.uuid)
    world.driver().inject("*", HostUnreachable("cut off"), times=None)
    report = audit(repair=True)
    assert not report.is_clean
    assert [finding.code for finding in report.unseen] == ["host_unseen"]
    assert report.hosts == ()
    # Its guest may still run there with that address.
    assert report.repaired == ()
    world.driver().clear_faults()
    assert audit(repair=True).is_clean


def test_a_silent_pool_is_not_called_clean(world: World) -> None:
    world.running()
    world.driver().inject("volumes", CallTimeout("slow"), times=None)
    report = audit()
    assert report.codes() == set()
    assert [finding.code for finding in report.unseen] == ["pool_unseen"]
    world.driver().clear_faults()
    assert_clean()


def test_nothing_is_given_back_while_the_guest_is_still_there(world: World) -> None:
    server = world.running()
    keep_the_address_of_a_deleted_one(world, server)
    gone = Server.objects.get(lifecycle=Lifecycle.DELETED)
    world.driver().define(domain_of(gone))
    world.driver().start(gone.uuid)
    report = audit(repair=True)
    assert report.repaired == ()
    assert report.codes() == {"domain_leftover", "address_without_owner"}
    world.driver().outside_destroy(gone.uuid)
    assert len(audit(repair=True).repaired) == 2
    assert_clean()


def test_a_disk_that_a_guest_uses_is_never_deleted(world: World) -> None:
    gone = bury(world)
    world.driver().add_foreign_volume("vpspanel", gone.disk_volume(), 4096)
    user = uuid4()
    disk = DiskSpec("vpspanel", gone.disk_volume(), "vda", "qcow2")
    world.driver().define(DomainSpec(user, f"vps-{user}", 1, 64, (disk,), (), "qemu"))
    report = audit(repair=True)
    assert report.repaired == ()
    assert report.codes() == {"disk_leftover", "domain_unknown"}


def test_the_command(world: World) -> None:
    server = world.running()
    out = io.StringIO()
    call_command("audit", stdout=out)
    assert "1 hosts looked at, 0 parts not; 0 errors, 0 repaired." in out.getvalue()
    count_too_much(world, server)
    put_a_disk_of_nobody(world, server)
    out = io.StringIO()
    with pytest.raises(SystemExit) as ended:
        call_command("audit", stdout=out)
    assert ended.value.code == 1
    assert "[host_counter] - --repair would count again" in out.getvalue()
    out = io.StringIO()
    with pytest.raises(SystemExit):
        call_command("audit", "--repair", "--json", stdout=out)
    data = json.loads(out.getvalue())
    assert not data["clean"]
    assert [finding["code"] for finding in data["repaired"]] == ["host_counter"]
    assert [finding["code"] for finding in data["findings"]] == ["disk_unknown"]
