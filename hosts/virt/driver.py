"""The contract between the panel and one KVM host.

Two classes keep it: `LibvirtDriver` (libvirt.py) and `FakeDriver` (fake.py);
one suite, tests/hosts/test_driver_contract.py, holds both to every sentence
here. All calls block, are safe from several threads, and end: each has a
deadline (`timeout`, seconds), after which `CallTimeout` is raised and the
outcome is unknown.

Every call may raise `HostUnreachable` or `CallTimeout`. Every `ensure_…` and
`delete_…` may be called twice: the second call finds nothing to do.
Domains are looked up by UUID only. A domain without our metadata raises
`ForeignObject` on every call that would change it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import BinaryIO, Protocol
from uuid import UUID

from hosts.virt.spec import (
    DefinitionSeen,
    DomainEvent,
    DomainSeen,
    DomainSpec,
    DomainStats,
    FilterSpec,
    HostLoad,
    HostSeen,
    MoveProgress,
    NetworkSpec,
    PoolSeen,
    VolumeSeen,
)

Progress = Callable[[int], None]  # bytes sent so far
MoveWatch = Callable[[MoveProgress], None]


class SerialStream(Protocol):
    """A guest's serial console as an asyncio-friendly byte stream (console.py)."""

    async def read(self) -> bytes:
        """The next bytes, at most 64 KiB; `b""` when the guest or the host closed the stream.

        At most 256 KiB are held for a slow reader; of a guest that prints more,
        the oldest bytes are lost. A viewer that stalls never stops the guest.
        """

    async def write(self, data: bytes) -> None:
        """Hand `data` to the guest; returns when the stream took all of it."""

    async def close(self) -> None:
        """Free the console on the host. Safe to call twice."""


class Driver(Protocol):
    """One host."""

    uri: str

    # --- the host -----------------------------------------------------------
    def probe(self) -> HostSeen:
        """Facts of the host. KVM only where the host CPU shows vmx or svm and libvirt offers it."""

    def load(self) -> HostLoad:
        """What the host's CPUs and memory are used for, all guests and others together."""

    def ensure_pool(self, name: str, path: str) -> PoolSeen:
        """A started, autostarted directory pool of that name at that path.

        Raises `AlreadyExists` if a pool of that name has another path.
        """

    def pool(self, name: str) -> PoolSeen:
        """Fresh figures of one pool. Raises `NotFound`."""

    def ensure_network(self, spec: NetworkSpec) -> NetworkSpec:
        """The network exists, runs and starts with the host; one of that name is kept as it is.

        Returns what is there: its bridge and addresses may differ from `spec`.
        """

    # --- volumes ------------------------------------------------------------
    def volumes(self, pool: str) -> list[VolumeSeen]:
        """Every volume of the pool, ours or not."""

    def upload_volume(
        self,
        pool: str,
        name: str,
        source: BinaryIO,
        *,
        length: int,
        format: str,  # noqa: A002 (libvirt's and qemu-img's own word)
        capacity_bytes: int,
        progress: Progress | None = None,
        timeout: float = 3600,
    ) -> None:
        """Put `length` bytes under `name`, through the host's upload stream.

        An existing volume of that name is left as it is and the call returns.
        The name appears only when all bytes are there: until then `volumes`
        lists ".upload-NAME" instead, which `delete_volume` also accepts. An
        upload that fails takes that away, too; one that is cut may leave it,
        and the next upload of the name clears it. The caller sees to it that
        no two processes upload the same name to a host at the same time.
        `progress` is called in the caller's thread, several times a second;
        what it raises ends the upload and comes out of this call.
        Raises `DiskFull`.
        """

    def write_volume(self, pool: str, name: str, data: bytes, *, capacity_bytes: int) -> None:
        """A raw volume of `capacity_bytes` that starts with `data`, the rest zeros.

        An existing one is overwritten in place, so that a running guest that
        has it attached sees the new bytes: this is how seeds lose secrets.
        """

    def create_overlay(self, pool: str, name: str, *, base: str, capacity_bytes: int) -> None:
        """A qcow2 overlay (extended_l2, 128 KiB clusters) on volume `base` of the same pool.

        Existing: returned as it is if it has that base and capacity, else `AlreadyExists`.
        Raises `NotFound` if the base is missing.
        """

    def grow_volume(self, pool: str, name: str, *, capacity_bytes: int) -> None:
        """The qcow2 volume has at least that capacity; one that has more is left as it is.

        For guests that are off: a running one would not see it. Raises `NotFound`.
        """

    def flatten_volume(
        self,
        pool: str,
        name: str,
        *,
        source: str,
        progress: Progress | None = None,
        timeout: float = 3600,
    ) -> None:
        """A new qcow2 that stands on nothing and reads like the qcow2 volume `source`.

        For guests that are off: of a running one it would be no moment's state.
        `progress` is told the bytes written, as for an upload. If this ends
        early the host may still be writing; until then deleting what there is
        raises an error with the code "resource_busy".
        Raises `NotFound`, `AlreadyExists`, `DiskFull`.
        """

    def download_volume(
        self,
        pool: str,
        name: str,
        sink: BinaryIO,
        *,
        progress: Progress | None = None,
        timeout: float = 3600,
    ) -> None:
        """Write the bytes of the volume's file to `sink`, from a thread of the driver.

        Raises `NotFound`; what `sink` or `progress` raises ends it and comes out of this call.
        """

    def volume_users(self, pool: str, name: str) -> list[str]:
        """What would break without the volume: names, sorted; empty if nothing would, or none is.

        These are the volumes of the pool that stand on it, and the guests, ours
        and foreign, that run with it or are defined with it, themselves or below
        one of their disks.
        """

    def delete_volume(self, pool: str, name: str) -> bool:
        """True if there was one. Only files inside the pool can be named."""

    # --- network filters ----------------------------------------------------
    def ensure_filter(self, spec: FilterSpec) -> None:
        """The filter has exactly these rules; running guests that use it get them at once."""

    def delete_filter(self, name: str) -> bool:
        """True if there was one. Raises `InvalidState` while a guest uses it."""

    def filters(self) -> list[str]:
        """Names of all filters that we made (they start with "vps-")."""

    # --- domains ------------------------------------------------------------
    def domains(self) -> list[DomainSeen]:
        """Every domain, ours and foreign, without asking any guest's QEMU."""

    def domain(self, uuid: UUID) -> DomainSeen | None:
        """One domain, or None if the host does not know it."""

    def stats(self) -> list[DomainStats]:
        """Counters of all running guests in one call that waits for no guest (NOWAIT)."""

    def define(self, spec: DomainSpec) -> DomainSeen:
        """The domain is defined as `spec` says, schema-validated; a running guest keeps running
        with its old definition until it is next started.

        Raises `ForeignObject` if the UUID belongs to a foreign domain, `AlreadyExists` if the
        name belongs to another domain, `NotFound` if a network card's filter is missing.
        """

    def undefine(self, uuid: UUID) -> bool:
        """True if it was defined. NVRAM, managed save, snapshot and checkpoint metadata go with
        it, and what its serial port wrote, never a disk. Raises `InvalidState` while it runs.
        """

    def start(self, uuid: UUID) -> None:
        """The guest runs: one that is off is started, one that is paused goes on.

        Nothing happens if it runs. Raises `NotFound`, `HostDegraded`, `DiskFull`, and
        `InvalidState` if a network card of it has no filter of ours.
        """

    def shutdown(self, uuid: UUID) -> None:
        """Ask the guest (ACPI) to power off; returns at once. Nothing happens if it is off."""

    def destroy(self, uuid: UUID) -> None:
        """The guest is off, whatever it was doing. Nothing happens if it is off or unknown."""

    def reboot(self, uuid: UUID) -> None:
        """Ask the guest (ACPI) to reboot; returns at once. Raises `InvalidState` if it is off."""

    def reset(self, uuid: UUID) -> None:
        """Press the reset button. Raises `InvalidState` if it is off."""

    def set_password(self, uuid: UUID, user: str, password: str) -> None:
        """Set it through the guest agent. Raises `AgentUnavailable`."""

    # --- guests of somebody else --------------------------------------------
    def definitions(self) -> list[DefinitionSeen]:
        """What the next start of every guest, ours and foreign, makes it from."""

    def describe(self, uuid: UUID) -> str:
        """The definition in the host's own words, for `let_go`. It may hold secrets.

        Raises `NotFound`.
        """

    def take_over(self, spec: DomainSpec) -> None:
        """The foreign guest of that UUID and name is ours, and does what it did: nothing stops.

        From now on it carries our metadata, its network card has the filter of
        `spec`, also while it runs, and it does not start with its host. From its
        next start on it is what `spec` says. One that is ours already is treated
        in the same way, so this may be called twice.
        Raises `NotFound`, also if the filter is missing, and `InvalidState` if it has another
        name, or other disks or network cards, than `spec` says.
        """

    def let_go(self, uuid: UUID, described: str) -> None:
        """Undo of `take_over`: the guest is foreign again and as `describe` said, running or not.

        Nothing happens to a guest that is not ours, or not there.
        """

    # --- from one host to another -------------------------------------------
    def move(
        self,
        target: Driver,
        spec: DomainSpec,
        *,
        address: str,
        copied: tuple[str, ...] = (),
        bandwidth_mib: int = 0,
        progress: MoveWatch | None = None,
        timeout: float = 3600,
    ) -> None:
        """The running guest of that UUID goes on on `target`, a host of the same kind.

        There it was defined before, as `spec`, with its filter, and is off; its
        disks are there, too. Of those in `copied` (vda …) this brings over what
        lies above their base; the others, and what is read-only, must be the
        same on both hosts. When this returns, it runs there and is off and
        `moved_away` here, still defined on both.

        Data goes from host to host, to `address` (of the target), unencrypted;
        at most `bandwidth_mib` MiB/s of it, if that is not 0. `progress` is
        called in the caller's thread, several times a second; what it raises
        calls the move off and comes out of this call.
        If this fails the guest is on one of the two, and `domain` of both tells
        on which: while it is `between`, or of unknown power, on either, that is
        not decided yet; a move whose caller is gone ends by itself.
        Raises `NotFound`, `InvalidState` (it is off), `ForeignObject`,
        `Unsupported` (hosts of two kinds), `DiskFull`, and `StillMoving` for
        some seconds after a move whose caller is gone.
        """

    def call_off_move(self, uuid: UUID) -> bool:
        """True if the guest was leaving: soon it no longer is, and goes on here, or has left."""

    def stay(self, uuid: UUID) -> None:
        """A guest that is `between` since it was leaving goes on here: only if it is not there.

        Nothing happens if it runs. Raises `NotFound`, `InvalidState` (it is off).
        """

    # --- what guests wrote to their serial ports ----------------------------
    def serial_log(self, uuid: UUID, limit: int) -> bytes:
        """The newest `limit` bytes of it, kept by the host also while nobody looks.

        It outlives stops and starts and holds some hundred KiB; `undefine` takes it away.
        It is whatever the guest wrote: control characters, anything. Raises `NotFound`.
        """

    def serial_logs(self) -> list[UUID]:
        """The guests, known to the host or not, of which such a log is left."""

    def delete_serial_log(self, uuid: UUID) -> bool:
        """True if there was one. For the log of a guest that is gone."""

    # --- consoles and events ------------------------------------------------
    async def open_serial(self, uuid: UUID, *, force: bool = False) -> SerialStream:
        """The guest's first serial port. Raises `NotFound`, `InvalidState` (off), `ConsoleBusy`.

        With `force` the current holder is cut off instead.
        """

    async def open_vnc(self, uuid: UUID, viewer: asyncio.Protocol) -> None:
        """Connect `viewer` to the guest's screen, which speaks RFB (VNC) without a password.

        When this returns `viewer.connection_made` was called, in the running
        loop, with a transport that has `write`, `close`, `abort`, `is_closing`,
        `pause_reading` and `resume_reading`; `connection_lost` comes when
        either side has ended it. Any number of viewers may be connected.
        A viewer that pauses reading costs no more than 512 KiB here.
        Raises `NotFound`, `InvalidState` (off), `Unsupported` (the host is
        reached neither locally nor over SSH).
        """

    def watch(self, sink: Callable[[DomainEvent], None]) -> Callable[[], None]:
        """Call `sink` for each event, from a thread of the driver; returns what ends the watch.

        The sink must be quick and must not call the driver. After a lost
        connection (`DISCONNECTED`) the driver reconnects by itself and says
        `CONNECTED`; events in between are lost, so the receiver lists again.
        """

    def close(self) -> None:
        """Let go of all connections and threads."""
