"""The part of the contract about guests that go from one libvirt host to another."""

from __future__ import annotations

from contextlib import suppress
from uuid import UUID

import libvirt

from hosts.virt import migration
from hosts.virt.driver import Driver, MoveWatch
from hosts.virt.errors import Unsupported, VirtError
from hosts.virt.linked import Linked
from hosts.virt.spec import DomainSpec


class MoveCalls(Linked):
    """See `Driver`."""

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
        if not isinstance(target, Linked):
            raise Unsupported(f"{self.uri} and {target.uri} are hosts of two kinds")
        move = migration.Move(spec, address, copied, bandwidth_mib)

        def look() -> None:
            if progress is None:
                return
            with suppress(VirtError):  # the host is slow to say
                move.at = self._ask(lambda c: migration.progress(c, spec.uuid)) or move.at
            progress(move.at)

        def call_off() -> None:
            with suppress(VirtError):  # it ends by itself when the connections do
                self.call_off_move(spec.uuid)

        # Closed when this ends, however it does: a guest that still waits there to arrive goes.
        there = target._link.open_alone()
        try:
            self._run_alone(
                lambda here: move.run(here, there),
                look,
                call_off,
                what=spec.name,
                timeout=timeout,
                patience=migration.CALLED_OFF_WITHIN,
            )
        finally:
            with suppress(libvirt.libvirtError):
                there.close()

    def call_off_move(self, uuid: UUID) -> bool:
        return self._do(lambda c: migration.call_off(c, uuid))

    def stay(self, uuid: UUID) -> None:
        self._do(lambda c: migration.stay(c, uuid))
