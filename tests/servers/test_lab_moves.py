"""Servers that move between real hosts: running, off, and with the line cut in the middle."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from django.db import connections

from hosts.models import CapacityClaim, Host, StoragePool
from hosts.virt.names import object_name
from hosts.virt.registry import driver_for
from tests.audit import assert_clean
from tests.hosts.contract import wait_until
from tests.lab import Lab, LabHost
from tests.servers.test_lab_fleet import BOOTED_WITHIN, answers, built, customer, end, panel
from tests.world import due_now, work
from vpspanel.actions.models import Action
from vpspanel.events.actor import SYSTEM
from vpspanel.servers import services
from vpspanel.servers.demo import Demo
from vpspanel.servers.models import Server
from vpspanel.servers.moving import cancel_move, move_server

__all__ = ["panel"]

pytestmark = [pytest.mark.lab, pytest.mark.slow]

LONGEST_SILENCE = 2.0  # seconds in which a server that moves may not answer
ONE_HOST_WITHIN = 60.0  # CHECKS 46
PROMPT = r"[#$] "
PLACE = 1_800_000  # a sector far behind everything that the guest itself uses


class Pinger:
    """Sends an echo request ten times a second; `replies` are the moments of the answers."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.sent = 0
        self.replies: list[float] = []
        self._stop = threading.Event()

    def silence(self) -> float:
        """The longest time between two answers."""
        return max(b - a for a, b in zip(self.replies, self.replies[1:], strict=False))

    def run(self) -> None:
        """Until it is stopped; one packet on its way at a time, so that its answer is known."""
        with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as raw:
            while not self._stop.is_set():
                began = time.monotonic()
                raw.sendto(self._request(), (self.address, 0))
                self._take_replies(raw, until=began + 0.1)

    def _request(self) -> bytes:
        self.sent += 1
        head = struct.pack(">BBHHH", 8, 0, 0, os.getpid() & 0xFFFF, self.sent & 0xFFFF)
        total = sum(struct.unpack(">4H", head))
        checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
        return head[:2] + struct.pack(">H", checksum) + head[4:]

    def _take_replies(self, raw: socket.socket, *, until: float) -> None:
        while (left := until - time.monotonic()) > 0:
            raw.settimeout(left)
            try:
                packet, (sender, _) = raw.recvfrom(2000)
            except TimeoutError:
                return
            if sender == self.address and packet[20] == 0:  # an echo reply
                self.replies.append(time.monotonic())

    def stop(self) -> None:
        """No more after this packet."""
        self._stop.set()


@contextmanager
def pinging(server: Server) -> Iterator[Pinger]:
    """While the block runs, and a second before and after."""
    pinger = Pinger(server.primary_ips.get(address__family=4).address.address)
    thread = threading.Thread(target=pinger.run)
    thread.start()
    try:
        time.sleep(1)
        yield pinger
        time.sleep(1)
    finally:
        pinger.stop()
        thread.join(10)


def host_of(server: Server) -> Host:
    """Where the records say that it is."""
    server.refresh_from_db()
    assert server.host is not None
    return server.host


def typed(server: Server, text: str, until: str, seconds: float = 60) -> str:
    """What comes after `text` was typed on its serial console, up to the pattern `until`."""
    driver = driver_for(host_of(server).uri)

    async def talk() -> str:
        stream = await driver.open_serial(server.uuid, force=True)
        try:
            await stream.write(text.encode())
            seen = ""
            async with asyncio.timeout(seconds):
                while not re.search(until, seen):
                    seen += (await stream.read()).decode(errors="replace")
            return seen
        finally:
            await stream.close()

    return asyncio.run(talk())


def log_in(server: Server, password: str) -> None:
    """As root; it stays logged in."""
    typed(server, "\n", "login: ", BOOTED_WITHIN)
    typed(server, "root\n", "Password: ?")
    time.sleep(1.5)  # login drops what is typed before it listens
    typed(server, f"{password}\n", PROMPT)


def boot_of(server: Server) -> str:
    """What its kernel made up when it booted."""
    said = typed(server, "cat /proc/sys/kernel/random/boot_id\n", r"[0-9a-f-]{36}\s")
    found = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", said)
    assert found, said
    return found[0]


def written(server: Server) -> str:
    """What lies in that place of its disk."""
    return typed(server, f"dd if=/dev/vda bs=512 skip={PLACE} count=1 2>/dev/null; echo\n", PROMPT)


@contextmanager
def explained(action: Action) -> Iterator[None]:
    """What fails in the block says how far the action is."""
    try:
        yield
    except AssertionError as error:
        action.refresh_from_db()
        facts = (action.state, action.step, action.undoing, action.detail, action.error_detail)
        raise AssertionError(f"{error}: {facts}") from error


def wait_until_ended(action: Action) -> None:
    """Somebody else works on it."""

    def ended() -> bool:
        action.refresh_from_db()
        return action.state not in ("queued", "running")

    with explained(action):
        wait_until(ended, 120, f"{action.command} has ended")


def carry_out(action: Action, seconds: float = 180) -> float:
    """Seconds until a worker has done it."""
    began = time.monotonic()

    def done() -> bool:
        work()
        due_now()
        action.refresh_from_db()
        return action.state not in ("queued", "running")

    with explained(action):
        wait_until(done, seconds, f"{action.command} has ended")
    return time.monotonic() - began


def runs_on(lab: Lab, server: Server) -> list[str]:
    """The hosts on which a QEMU of it is at work, looked at from inside."""
    return [host.name for host in lab.hosts if server.domain_name in host.kvm.qemu_pids()]


def of_lab(lab: Lab, host: Host) -> LabHost:
    return next(one for one in lab.hosts if one.name == host.name)


@contextmanager
def worker_at_work() -> Iterator[None]:
    """A worker in a thread, until the block ends."""
    stop = threading.Event()

    def run() -> None:
        try:
            while not stop.is_set():
                work()
                due_now()
                stop.wait(0.2)
        finally:
            connections.close_all()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(120)


def test_a_server_moves_running_and_off_and_with_the_line_cut(lab: Lab, panel: Demo) -> None:
    (server,) = built(panel, ["mover"])
    wait_until(lambda: answers(server), BOOTED_WITHIN, "it answers")
    log_in(server, services.reveal_root_password(customer(), server.pk) or "")
    typed(
        server,
        f"echo kept | dd of=/dev/vda bs=512 seek={PLACE} conv=fsync 2>/dev/null; cd /tmp\n",
        PROMPT,
    )
    boot, first = boot_of(server), host_of(server)
    with pinging(server) as pinger:
        action = move_server(SYSTEM, server)
        took = carry_out(action)
        assert action.state == "success", action.error_detail
        wait_until(lambda: answers(server), 20, "it answers")
    print(
        f"live: {took:.1f} s, silent for {pinger.silence():.2f} s, "
        f"{pinger.sent - len(pinger.replies)} of {pinger.sent} unanswered"
    )
    assert host_of(server) != first
    assert runs_on(lab, server) == [host_of(server).name]
    assert boot_of(server) == boot
    assert "/tmp" in typed(server, "pwd\n", r"/tmp\s")  # the same shell, still logged in
    assert "kept" in written(server)
    assert_clean()
    assert pinger.silence() <= LONGEST_SILENCE

    services.power_off(customer(), server.pk)
    carry_out(Action.objects.latest("pk"))
    server.refresh_from_db()
    action = move_server(SYSTEM, server, first)
    took = carry_out(action)
    assert action.state == "success", action.error_detail
    print(f"offline: {took:.1f} s")
    assert runs_on(lab, server) == []
    assert_clean()
    services.power_on(customer(), server.pk)
    carry_out(Action.objects.latest("pk"))
    wait_until(lambda: answers(server), BOOTED_WITHIN, "it answers")
    assert (host_of(server), runs_on(lab, server)) == (first, [first.name])
    assert CapacityClaim.objects.get(owner=server.uuid).host == first
    check_the_line_is_cut_in_the_middle(lab, server)
    check_it_is_called_off(lab, server)
    end([server])


def test_a_server_moves_on_storage_that_two_hosts_see(lab: Lab, panel: Demo) -> None:
    """Nothing is copied, the guest goes on, and the disk stays what it is, where it is."""
    path = lab.directory / "shared"
    path.mkdir(mode=0o755)
    hosts = list(Host.objects.filter(name__in=[one.name for one in lab.hosts[:2]]).order_by("name"))
    with shared_pools(lab, hosts, str(path)):
        (server,) = built(panel, ["sharer"])
        wait_until(lambda: answers(server), BOOTED_WITHIN, "it answers")
        first = host_of(server)
        files = sorted(file.name for file in path.iterdir())
        with pinging(server) as pinger:
            action = move_server(SYSTEM, server)
            took = carry_out(action)
            assert action.state == "success", action.error_detail
        print(f"live, shared storage: {took:.1f} s, silent for {pinger.silence():.2f} s")
        assert action.args["shared"] is True
        assert {first, host_of(server)} == set(hosts)
        assert runs_on(lab, server) == [host_of(server).name]
        assert sorted(file.name for file in path.iterdir()) == files
        assert pinger.silence() <= LONGEST_SILENCE
        services.reset(customer(), server.pk)  # it starts from that disk, on its new host
        carry_out(Action.objects.latest("pk"))
        wait_until(lambda: answers(server), BOOTED_WITHIN, "it answers")
        end([server])
        for host in hosts:
            driver = driver_for(host.uri)
            for volume in driver.volumes("shared"):
                driver.delete_volume("shared", volume.name)


@contextmanager
def shared_pools(lab: Lab, hosts: list[Host], path: str) -> Iterator[None]:
    """A pool of these hosts, in one directory; nothing else takes new servers."""
    StoragePool.objects.update(accepting=False)
    for host in hosts:
        driver_for(host.uri).ensure_pool("shared", path)
        StoragePool.objects.create(
            host=host, name="shared", path=path, shared_id="nfs1", limit_gib=100
        )
    yield
    for host in hosts:
        for act in ("pool-destroy", "pool-undefine"):
            of_lab(lab, host).kvm.exec("virsh", act, object_name("shared"))


def moving(server: Server) -> bool:
    """Whether bytes are on their way."""
    action = Action.objects.filter(command="migrate").latest("pk")
    return action.step == "transfer" and bool(re.search(r"[1-9]\d* of", action.detail))


def check_the_line_is_cut_in_the_middle(lab: Lab, server: Server) -> None:
    """CHECKS 46: it runs on exactly one host, and the move ends by itself."""
    first = host_of(server)
    cut = of_lab(lab, first)
    action = move_server(SYSTEM, server, bandwidth_mib=1)
    with worker_at_work():
        wait_until(lambda: moving(server), 60, "it is on its way")
        cut.cut_off()
        began = time.monotonic()
        try:
            wait_until(lambda: runs_on(lab, server) == [first.name], ONE_HOST_WITHIN, "on one host")
            took = time.monotonic() - began
        finally:
            cut.reconnect()
        print(f"cut: on one host after {took:.1f} s")
        Action.objects.filter(pk=action.pk).update(args={**action.args, "bandwidth_mib": 0})
        wait_until_ended(action)
    assert action.state == "success", (action.state, action.error_detail)
    assert runs_on(lab, server) == [host_of(server).name] != [first.name]
    assert_clean()


def check_it_is_called_off(lab: Lab, server: Server) -> None:
    """It stays where it is, and answers."""
    action = move_server(SYSTEM, server, bandwidth_mib=1)
    with worker_at_work():
        wait_until(lambda: moving(server), 60, "it is on its way")
        stays_on = host_of(server)
        began = time.monotonic()
        cancel_move(SYSTEM, server)
        wait_until_ended(action)
        print(f"called off: {time.monotonic() - began:.1f} s")
    assert (action.state, action.error_code) == ("error", "cancelled")
    assert host_of(server) == stays_on
    assert runs_on(lab, server) == [stays_on.name]
    wait_until(lambda: answers(server), 20, "it answers")
