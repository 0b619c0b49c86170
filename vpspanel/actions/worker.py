"""The worker: threads that run claimed actions, and a heartbeat that keeps their leases."""

from __future__ import annotations

import logging
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection
from django.utils import timezone

from vpspanel.actions.claims import LEASE_SECONDS, Claim, claim_next, next_due, renew
from vpspanel.actions.command import Registry
from vpspanel.actions.runner import Observer, Runner
from vpspanel.actions.transport import IDLE_SECONDS, Waiter, waiter, wake

log = logging.getLogger(__name__)


class Worker:
    """Claims and runs actions until `stop` is called.

    `threads` actions run at once. After `stop`, actions in hand get
    `grace_seconds` to finish; what is left is taken over by another worker
    when its lease has run out. `connections_besides` is how many database
    connections other threads of this process need.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        threads: int = 8,
        lease_seconds: float = LEASE_SECONDS,
        grace_seconds: float = 20.0,
        observer: Observer | None = None,
        connections_besides: int = 0,
    ):
        self.name = f"{socket.gethostname()}:{os.getpid()}"
        self._runner = Runner(registry, observer)
        self._lease_seconds = lease_seconds
        self._grace_seconds = grace_seconds
        self._slots = threading.BoundedSemaphore(threads)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="action")
        self._connections = threads + 2 + connections_besides
        self._claims: set[Claim] = set()
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._idle = threading.Condition(self._guard)

    def stop(self) -> None:
        """Claim nothing more. Safe to call from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Work until stopped."""
        _make_room(self._connections)
        heartbeat = threading.Thread(target=self._beat, name="heartbeat", daemon=True)
        heartbeat.start()
        bell = waiter()
        try:
            while not self._stopping.is_set():
                self._claim_and_start(bell)
        finally:
            bell.close()
            self._drain()
            self._ended.set()

    def run_until_idle(self) -> int:
        """Run everything that is due now in this thread; how many actions were worked on."""
        count = 0
        while (claim := claim_next(self.name, lease_seconds=self._lease_seconds)) is not None:
            self._runner.run(claim)
            count += 1
        return count

    def _claim_and_start(self, bell: Waiter) -> None:
        """Start what is due; otherwise sleep until the bell, the next due time, or a second."""
        if not self._slots.acquire(timeout=IDLE_SECONDS):
            return
        claim = None
        try:
            claim = claim_next(self.name, lease_seconds=self._lease_seconds)
        except DatabaseError:
            log.exception("the database does not answer; trying again")
            close_old_connections()
            self._stopping.wait(IDLE_SECONDS)
        if claim is None:
            self._slots.release()
            bell.wait(self._pause())
            return
        with self._guard:
            self._claims.add(claim)
        self._pool.submit(self._work, claim)

    def _pause(self) -> float:
        try:
            due = next_due()
        except DatabaseError:
            return IDLE_SECONDS
        if due is None:
            return IDLE_SECONDS
        return min(IDLE_SECONDS, max(0.01, (due - timezone.now()).total_seconds()))

    def _work(self, claim: Claim) -> None:
        try:
            self._runner.run(claim)
        except DatabaseError:
            # The lease runs out by itself; whoever claims next goes on from the last record.
            log.exception("action %s: lost the database", claim.action_id)
        except Exception:
            log.exception("action %s: the engine broke", claim.action_id)
        finally:
            with self._idle:
                self._claims.discard(claim)
                self._idle.notify_all()
            self._slots.release()
            close_old_connections()
            wake()  # its group has room again

    def _beat(self) -> None:
        """Renew all leases three times per lease; a lost one is marked, so its step stops."""
        while not self._ended.wait(self._lease_seconds / 3):
            with self._guard:
                claims = list(self._claims)
            for claim in claims:
                try:
                    renew(claim)
                except DatabaseError:
                    log.warning("heartbeat of action %s failed", claim.action_id)
                    close_old_connections()
        connection.close()

    def _drain(self) -> None:
        """Wait for the actions in hand, at most the grace time."""
        with self._idle:
            self._idle.wait_for(lambda: not self._claims, timeout=self._grace_seconds)
            left = sorted(claim.action_id for claim in self._claims)
        self._pool.shutdown(wait=False, cancel_futures=True)
        if left:
            log.warning("left for another worker: actions %s", left)


def _make_room(connections: int) -> None:
    """See to it that each thread, the claims and the heartbeat have a database connection each.

    A thread keeps its connection while its step waits for a host; a heartbeat
    that had to wait for one would lose every lease.
    """
    pool: Any = getattr(connection, "pool", None)
    if pool is not None and pool.max_size < connections:
        pool.resize(pool.min_size, connections)
