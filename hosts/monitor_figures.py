"""From counters to samples: what a host and its guests did in the last minute.

Counters only grow; a rate needs two looks. What has started anew in between,
or was not told, has no rate this time.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from uuid import UUID

from hosts.figures import MINUTE, beginning
from hosts.models import CapacityClaim
from hosts.models_fleet import GuestSample, HostSample
from hosts.virt.driver import Driver
from hosts.virt.spec import DomainStats, HostLoad

NS_PERCENT = 1e9 / 100  # a CPU that is busy all the time counts so much per second and percent
RATES = (
    "disk_read_bytes",
    "disk_write_bytes",
    "disk_read_requests",
    "disk_write_requests",
    "net_rx_bytes",
    "net_tx_bytes",
    "net_rx_packets",
    "net_tx_packets",
)
TOGETHER = ("disk_read_bytes", "disk_write_bytes", "net_rx_bytes", "net_tx_bytes")
BATCH = 500


def owned_here(host_id: int, owners: list[UUID]) -> set[UUID]:
    """Those owners that hold no room of another host: a stale copy has no say in the figures."""
    elsewhere = CapacityClaim.objects.filter(owner__in=owners).exclude(host_id=host_id)
    return set(owners) - set(elsewhere.values_list("owner", flat=True))


class Meter:
    """The last counters of one host. Used by the host's own thread only."""

    def __init__(self, host_id: int) -> None:
        self.ours: set[UUID] = set()  # nobody else's guests are written down
        self._host_id = host_id
        self._at: datetime | None = None
        self._load = HostLoad()
        self._guests: dict[UUID, DomainStats] = {}

    def read(self, driver: Driver, at: datetime) -> HostLoad:
        """Two calls to the host, whatever runs there; then the samples in one batch.

        Several monitors may watch a host: the first sample of a minute stays.
        Returns what the host counted.
        """
        load, guests = driver.load(), driver.stats()
        seconds = (at - self._at).total_seconds() if self._at else 0.0
        if seconds > 0:
            bucket = beginning(at, MINUTE)
            host = self._host_sample(load, guests, seconds, bucket)
            HostSample.objects.bulk_create([host], ignore_conflicts=True)
            GuestSample.objects.bulk_create(
                self._guest_samples(guests, seconds, bucket),
                batch_size=BATCH,
                ignore_conflicts=True,
            )
        self._at, self._load = at, load
        self._guests = {guest.uuid: guest for guest in guests}
        return load

    def _host_sample(
        self, load: HostLoad, guests: Sequence[DomainStats], seconds: float, bucket: datetime
    ) -> HostSample:
        busy = rate(self._load.cpu_busy_ns, load.cpu_busy_ns, seconds)
        return HostSample(
            host_id=self._host_id,
            step=MINUTE,
            at=bucket,
            cpu_percent=None if busy is None else busy / NS_PERCENT,
            memory_mib=load.memory_used_mib,
            guests=len(guests),
            swap_mib=load.swap_used_mib,
            load_average=load.load_average,
            **{name: self._together(name, guests, seconds) for name in TOGETHER},
        )

    def _together(self, name: str, guests: Iterable[DomainStats], seconds: float) -> float | None:
        """What all guests did, foreign ones as well; None while no rate of any is known."""
        rates = [
            rate(getattr(self._guests[guest.uuid], name), getattr(guest, name), seconds)
            for guest in guests
            if guest.uuid in self._guests
        ]
        known = [one for one in rates if one is not None]
        return sum(known) if known else None

    def _guest_samples(
        self, guests: Iterable[DomainStats], seconds: float, bucket: datetime
    ) -> list[GuestSample]:
        return [
            guest_sample(self._guests[guest.uuid], guest, seconds, bucket)
            for guest in guests
            if guest.uuid in self.ours and guest.uuid in self._guests
        ]


def guest_sample(
    before: DomainStats, now: DomainStats, seconds: float, bucket: datetime
) -> GuestSample:
    """What the guest did between two looks."""
    busy = rate(before.cpu_time_ns, now.cpu_time_ns, seconds)
    stolen = rate(before.cpu_steal_ns, now.cpu_steal_ns, seconds)
    rates = {name: rate(getattr(before, name), getattr(now, name), seconds) for name in RATES}
    return GuestSample(
        owner=now.uuid,
        step=MINUTE,
        at=bucket,
        cpu_percent=None if busy is None else busy / NS_PERCENT,
        steal_percent=None if stolen is None else stolen / NS_PERCENT,
        memory_mib=now.memory_mib,
        **rates,
    )


def rate(before: int | None, now: int | None, seconds: float) -> float | None:
    """Growth per second; None if one is not known, or if the counter began anew."""
    if before is None or now is None or now < before:
        return None
    return (now - before) / seconds
