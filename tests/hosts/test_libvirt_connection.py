"""Lanes, deadlines and the breaker, on libvirt's test driver with calls that hang on purpose."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import libvirt
import pytest

from hosts.virt.breaker import Breaker
from hosts.virt.connection import HostLink, Limits, Purpose
from hosts.virt.errors import CallTimeout, HostUnreachable, NotFound
from tests.hosts.contract import wait_until

pytestmark = pytest.mark.libvirt

TEST = "test:///default"
NOWHERE = "qemu:///system?socket=/nonexistent/libvirt-sock"


class Hang:
    """Calls that do not return before `release`."""

    def __init__(self) -> None:
        self._released = threading.Event()
        self.inside = 0

    def __call__(self, _connection: Any) -> str:
        self.inside += 1
        self._released.wait()
        self.inside -= 1
        return "late"

    def release(self) -> None:
        self._released.set()


@pytest.fixture
def hang() -> Iterator[Hang]:
    made = Hang()
    yield made
    made.release()
    wait_until(lambda: not made.inside, 5, "every hanging call has ended")


@pytest.fixture
def link() -> Iterator[HostLink]:
    made = HostLink(TEST, Limits(patience=0.02))
    yield made
    made.close()


def hostname(connection: Any) -> str:
    return str(connection.getHostname())


def leave_behind(link: HostLink, hang: Hang, **options: Any) -> None:
    with pytest.raises(CallTimeout):
        link.call(Purpose.ACTION, hang, timeout=0.05, **options)


def test_a_call_returns_what_the_work_returns(link: HostLink) -> None:
    assert link.call(Purpose.QUERY, hostname, timeout=5)


def test_libvirts_errors_come_out_translated(link: HostLink) -> None:
    with pytest.raises(NotFound):
        link.call(Purpose.QUERY, lambda c: c.lookupByName("nobody"), timeout=5)
    assert link.call(Purpose.QUERY, hostname, timeout=5)


def test_a_call_that_hangs_ends_at_its_deadline(link: HostLink, hang: Hang) -> None:
    started = time.monotonic()
    with pytest.raises(CallTimeout):
        link.call(Purpose.ACTION, hang, timeout=0.3)
    assert 0.25 < time.monotonic() - started < 1


def test_queries_go_on_while_actions_hang(link: HostLink, hang: Hang) -> None:
    for _ in range(3):
        leave_behind(link, hang)
    started = time.monotonic()
    assert link.call(Purpose.QUERY, hostname, timeout=5)
    assert link.call(Purpose.ACTION, hostname, timeout=5)
    assert time.monotonic() - started < 0.5


def test_a_lane_full_of_hanging_calls_starts_afresh(link: HostLink, hang: Hang) -> None:
    for _ in range(6):
        leave_behind(link, hang)
    started = time.monotonic()
    assert link.call(Purpose.ACTION, hostname, timeout=5)
    assert time.monotonic() - started < 0.5
    assert hang.inside == 6


def test_a_guest_leaves_one_call_behind_at_most(link: HostLink, hang: Hang) -> None:
    guest = uuid4()
    leave_behind(link, hang, guest=guest)
    with pytest.raises(CallTimeout, match="still hangs"):
        link.call(Purpose.ACTION, hostname, timeout=5, guest=guest)
    assert link.call(Purpose.ACTION, hostname, timeout=5, guest=uuid4())
    assert link.call(Purpose.ACTION, hostname, timeout=5, guest=guest, rescue=True)
    assert hang.inside == 1
    hang.release()
    wait_until(lambda: not hang.inside, 5, "the hanging call has ended")
    time.sleep(0.05)
    assert link.call(Purpose.ACTION, hostname, timeout=5, guest=guest)


def test_threads_left_behind_are_bounded(link: HostLink, hang: Hang) -> None:
    before = threading.active_count()
    for _ in range(12):
        leave_behind(link, hang)
    with pytest.raises(HostUnreachable, match="12 calls hang"):
        link.call(Purpose.QUERY, hostname, timeout=5)
    assert threading.active_count() - before <= 12 + 1  # and libvirt's event loop
    hang.release()
    wait_until(lambda: not hang.inside, 5, "the hanging calls have ended")
    time.sleep(0.05)
    assert link.call(Purpose.QUERY, hostname, timeout=5)


def test_calls_for_one_guest_wait_for_each_other(link: HostLink) -> None:
    guest = uuid4()
    inside: list[int] = []
    seen: list[int] = []

    def work(_connection: Any) -> None:
        inside.append(1)
        seen.append(len(inside))
        time.sleep(0.02)
        inside.pop()

    callers = [
        threading.Thread(
            target=link.call,
            args=(Purpose.ACTION, work),
            kwargs={"timeout": 10, "guest": guest},
        )
        for _ in range(5)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert seen == [1] * 5


def test_a_caller_without_time_does_not_blame_the_host(
    monkeypatch: pytest.MonkeyPatch, hang: Hang
) -> None:
    hanging_open(monkeypatch, hang)
    link = HostLink(TEST)
    with pytest.raises(CallTimeout):
        link.call(Purpose.QUERY, hostname, timeout=0.05)
    assert not link.breaker.open


def test_a_connection_serves_one_call_at_a_time(link: HostLink) -> None:
    lock = threading.Lock()
    seen: list[int] = []
    inside: dict[int, int] = {}

    def work(connection: Any) -> None:
        with lock:
            inside[id(connection)] = inside.get(id(connection), 0) + 1
            seen.append(inside[id(connection)])
        time.sleep(0.02)
        with lock:
            inside[id(connection)] -= 1

    callers = [
        threading.Thread(target=link.call, args=(Purpose.QUERY, work), kwargs={"timeout": 10})
        for _ in range(40)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert seen == [1] * 40
    assert 1 < len(inside) <= Limits().connections


def test_a_connection_is_used_again(link: HostLink) -> None:
    used = [link.call(Purpose.QUERY, lambda c: c, timeout=5) for _ in range(3)]
    assert used[1:] == used[:1] * 2
    assert link.call(Purpose.ACTION, lambda c: c, timeout=5) is not used[0]


def test_who_finds_all_connections_taken_waits_for_one(hang: Hang) -> None:
    link = HostLink(TEST, Limits(patience=0.02, connections=2))
    for _ in range(2):
        leave_behind(link, hang)
    with pytest.raises(CallTimeout, match="too many"):
        link.call(Purpose.ACTION, hostname, timeout=0.2)
    hang.release()
    assert link.call(Purpose.ACTION, hostname, timeout=5)
    link.close()


def test_what_nobody_needs_any_more_is_closed(hang: Hang) -> None:
    link = HostLink(TEST, Limits(patience=0.02, unused=0.1))
    opened: list[Any] = []

    def work(connection: Any) -> None:
        opened.append(connection)
        hang(connection)

    callers = [
        threading.Thread(target=link.call, args=(Purpose.QUERY, work), kwargs={"timeout": 10})
        for _ in range(3)
    ]
    for caller in callers:
        caller.start()
    wait_until(lambda: hang.inside == 3, 5, "each has a connection")
    hang.release()
    for caller in callers:
        caller.join()
    time.sleep(0.2)
    kept = link.call(Purpose.QUERY, lambda c: c, timeout=5)
    wait_until(lambda: [one for one in opened if is_open(one)] == [kept], 5, "one is left")
    link.close()
    wait_until(lambda: not is_open(kept), 5, "it is closed with the link")


def is_open(connection: Any) -> bool:
    try:
        return bool(connection.isAlive())
    except libvirt.libvirtError:
        return False


def test_nobody_answers(link: HostLink) -> None:
    link = HostLink(NOWHERE)
    with pytest.raises(HostUnreachable, match="nonexistent"):
        link.call(Purpose.QUERY, hostname, timeout=5)
    assert link.breaker.open
    with pytest.raises(HostUnreachable):
        link.open_alone()


def hanging_open(monkeypatch: pytest.MonkeyPatch, hang: Hang) -> list[int]:
    """`libvirt.open` hangs until released and then works; how often it was called."""
    real: Callable[[str], Any] = libvirt.open
    calls: list[int] = []

    def slow(uri: str) -> Any:
        calls.append(1)
        hang(None)
        return real(uri)

    monkeypatch.setattr(libvirt, "open", slow)
    return calls


def test_open_that_hangs_ends_at_its_deadline_and_opens_the_breaker(
    monkeypatch: pytest.MonkeyPatch, hang: Hang
) -> None:
    calls = hanging_open(monkeypatch, hang)
    link = HostLink(TEST, Limits(open_deadline=0.3))
    started = time.monotonic()
    with pytest.raises(HostUnreachable):
        link.call(Purpose.QUERY, hostname, timeout=5)
    assert time.monotonic() - started < 1
    started = time.monotonic()
    for _ in range(50):
        with pytest.raises(HostUnreachable):
            link.call(Purpose.QUERY, hostname, timeout=5)
    assert time.monotonic() - started < 0.5
    assert len(calls) == 1
    hang.release()
    wait_until(lambda: answers(link), 8, "the host is reachable again")
    assert len(calls) == 1
    assert not link.breaker.open
    link.close()


def answers(link: HostLink) -> bool:
    try:
        return bool(link.call(Purpose.QUERY, hostname, timeout=5))
    except HostUnreachable:
        return False


def test_connections_for_one_use_are_bounded_while_they_hang(
    monkeypatch: pytest.MonkeyPatch, hang: Hang
) -> None:
    calls = hanging_open(monkeypatch, hang)
    link = HostLink(TEST, Limits(open_deadline=0.05))
    link.breaker = Breaker(first=0, longest=0)
    for _ in range(20):
        with pytest.raises(HostUnreachable):
            link.open_alone()
    assert len(calls) == Limits().openings


# --- the breaker ------------------------------------------------------------------


def fail(breaker: Breaker) -> None:
    with pytest.raises(HostUnreachable, match="down"), breaker.attempt():
        raise HostUnreachable("down")


def test_an_open_breaker_refuses_at_once_with_the_last_reason() -> None:
    breaker = Breaker(first=10)
    fail(breaker)
    tried = []
    with pytest.raises(HostUnreachable, match="down"), breaker.attempt():
        tried.append(1)
    assert tried == []
    assert breaker.open


def test_after_the_pause_one_may_try_and_decides() -> None:
    breaker = Breaker(first=0.05, longest=0.1)
    fail(breaker)
    time.sleep(0.06)
    with breaker.attempt(), pytest.raises(HostUnreachable), breaker.attempt():
        pass
    assert not breaker.open
    with breaker.attempt():
        pass


def test_the_pause_doubles_up_to_the_longest() -> None:
    breaker = Breaker(first=0.02, longest=0.05)
    fail(breaker)
    for pause in (0.04, 0.05, 0.05):
        time.sleep(0.06)
        fail(breaker)
        assert breaker._pause == pytest.approx(pause)
