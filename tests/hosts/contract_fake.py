"""The simulated host for the contract's tests."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from hosts.virt.driver import Driver, SerialStream
from hosts.virt.fake import FakeDriver, Fault
from hosts.virt.spec import DomainSpec, Power
from tests.hosts.contract import MIB, ContractHost


class FakeHost(ContractHost):
    """The simulated host."""

    driver: FakeDriver

    def __init__(self, uri: str) -> None:
        self._uri = uri
        super().__init__(FakeDriver(uri), "/var/lib/vps")

    def _dispose_rest(self) -> None:
        self.driver.wipe()

    def add_foreign_domain(self, *, running: bool = False) -> UUID:
        return self.driver.add_foreign_domain(self.name("foreign"), running=running)

    def add_foreign_guest(self, spec: DomainSpec, *, running: bool) -> None:
        nics = tuple(replace(nic, filter_name="") for nic in spec.nics)
        self.driver.add_foreign_domain(
            spec.name, uuid=spec.uuid, running=running, autostart=True, disks=spec.disks, nics=nics
        )

    def live_filter(self, uuid: UUID) -> str:
        (nic,) = self.driver.guest_record(uuid).live_spec.nics
        return nic.filter_name

    def birth(self, uuid: UUID) -> object:
        return self.driver.guest_record(uuid).started_at

    def undefine_behind_its_back(self, uuid: UUID) -> None:
        self.driver.outside_undefine(uuid)

    def add_foreign_volume(self, name: str, size: int) -> None:
        self.driver.add_foreign_volume(self.pool, name, size)

    def content(self, name: str, length: int) -> bytes:
        record = self.driver.volume_record(self.pool, name)
        assert record is not None
        return record.head[:length].ljust(min(length, record.capacity), b"\0")

    def filter_text(self, name: str) -> str:
        return repr(self.driver.filter_record(name))

    def add_foreign_filter(self) -> str:
        self.driver.add_foreign_filter(self.name("foreign"))
        return self.name("foreign")

    def bridge_of(self, network: str) -> str:
        record = self.driver.network_record(network)
        assert record is not None
        return record.bridge

    def running_vcpus(self, uuid: UUID) -> int:
        return self.driver.guest_record(uuid).live_spec.vcpus

    def pause(self, uuid: UUID) -> None:
        self.driver.outside_pause(uuid)

    def kill(self, uuid: UUID) -> None:
        self.driver.outside_kill(uuid)

    def press_inside(self, uuid: UUID, what: str) -> None:
        {"poweroff": self.driver.guest_poweroff, "reboot": self.driver.guest_reboot}[what](uuid)

    def wait_ready(self, uuid: UUID) -> None:
        assert self.power(uuid) is Power.RUNNING

    async def flood(self, stream: SerialStream) -> None:
        await stream.write(b"root\ryes\r")

    def starts_with_host(self, pool: str) -> bool:
        return self.driver.pool(pool).active

    def identity(self, volume: str) -> object:
        return self.driver.volume_record(self.pool, volume) is not None

    def rules_in_force(self, uuid: UUID) -> str:
        (nic,) = self.driver.guest_record(uuid).live_spec.nics
        return self.filter_text(nic.filter_name)

    def leave_traces(self, uuid: UUID) -> None:
        """A simulated guest has none."""

    def restart_daemon(self) -> None:
        self.driver.drop_connections()

    def another_driver(self) -> Driver:
        return FakeDriver(self._uri)

    def unreachable(self) -> Driver:
        driver = FakeDriver(f"fake:///{self.prefix}-unreachable")
        driver.set_reachable(False)
        return driver

    def frozen(self) -> Driver:
        driver = FakeDriver(f"fake:///{self.prefix}-frozen?timeout_s=0.3")
        driver.inject("*", Fault.HANG, times=None)
        return driver

    def small_pool(self) -> str:
        free = self.driver.pool(self.pool).available_bytes
        self.driver.add_foreign_volume(self.pool, "filler", free - 4 * MIB)
        return self.pool
