"""A real host is lost with the disks on it: its server runs on from a snapshot on another one."""

from __future__ import annotations

import pytest

from hosts.models import Host, HostStatus
from hosts.virt.spec import Power
from tests.hosts.contract import wait_until
from tests.lab import Lab
from tests.servers.losing import FENCED
from tests.servers.test_lab_fleet import BOOTED_WITHIN, answers, built, customer, end, panel
from tests.servers.test_lab_loss import has_status, is_seen, lab_host, panel_at_work, power_on
from tests.servers.test_lab_moves import (
    PLACE,
    PROMPT,
    host_of,
    log_in,
    runs_on,
    typed,
    wait_until_ended,
    written,
)
from vpspanel.actions.services import open_action
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import services, stale
from vpspanel.servers.demo import Demo
from vpspanel.servers.evacuation import evacuate
from vpspanel.servers.models import Server, StaleCopy
from vpspanel.servers.snapshots import create_image, delete_image

__all__ = ["panel"]

pytestmark = [pytest.mark.lab, pytest.mark.slow]


def write(server: Server, text: str) -> None:
    """To that place of its disk, by a shell that is logged in."""
    line = f"echo {text} | dd of=/dev/vda bs=512 seek={PLACE} conv=fsync 2>/dev/null\n"
    typed(server, line, PROMPT)


def test_it_runs_on_from_its_snapshot_and_the_lost_disk_is_kept(lab: Lab, panel: Demo) -> None:
    (server,) = built(panel, ["web"])
    password = services.reveal_root_password(customer(), server.pk) or ""
    with panel_at_work():
        wait_until(lambda: answers(server), BOOTED_WITHIN, "it answers")
        log_in(server, password)
        write(server, "before")
        wait_until_ended(services.power_off(customer(), server.pk))
        copy = create_image(customer(), server.pk, description="before the upgrade")
        wait_until_ended(copy.action)
        wait_until_ended(services.power_on(customer(), server.pk))
        wait_until(lambda: answers(server), BOOTED_WITHIN, "it answers again")
        log_in(server, password)
        write(server, "since")
        lost, cable = host_of(server), lab_host(lab, server)
        cable.cut_off()
        try:
            wait_until(has_status(lost, HostStatus.UNREACHABLE), 60, "its loss shows")
            cable.kvm.exec("kill", "-9", str(cable.kvm.qemu_pids()[server.domain_name]))
            _restore(server, lost)
            assert runs_on(lab, server) == [host_of(server).name]
            wait_until(lambda: answers(server), BOOTED_WITHIN, "it answers on its own address")
            log_in(server, password)  # that of the snapshot
            assert "before" in written(server)
        finally:
            cable.reconnect()
        wait_until(has_status(lost, HostStatus.REACHABLE), 60, "it is back")
        wait_until(StaleCopy.objects.exists, 60, "its copy is found")
        found = stale.stale_copies(lost).get()
        # It may have been seen running at first: then the panel forces it off by itself.
        wait_until(lambda: not open_action("stale_copy", found.pk), 60, "nothing is done to it")
        assert power_on(lost, server) is Power.OFF
        stale.clean_up(SYSTEM, stale.stale_copies(lost).get())
        wait_until(lambda: not StaleCopy.objects.exists(), 60, "it is cleaned up")
        wait_until(is_seen(server, "running"), 60, "it runs")
    delete_image(customer(), copy.image.pk)
    end([server])


def _restore(server: Server, lost: Host) -> None:
    """Without the word of staff it stays; with it, it leaves."""
    stays = evacuate(SYSTEM, lost, confirmed_name=lost.name, fenced=FENCED)
    assert [one.server.pk for one in stays.stays] == [server.pk]
    done = evacuate(SYSTEM, lost, confirmed_name=lost.name, fenced=FENCED, from_copies=True)
    assert (len(done.actions), done.stays) == (1, [])
    wait_until_ended(done.actions[0])
    assert done.actions[0].state == "success", done.actions[0].error_detail
    assert host_of(server) != lost
