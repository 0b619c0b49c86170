"""A running panel, a simulated host with guests, and the people who look at them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import BrowserContext, Page

from hosts.models import Host, Location
from hosts.virt.fake import FakeDriver
from hosts.virt.spec import DomainSpec
from tests.consoles.panel import Panel, running
from vpspanel.accounts.models import Account, Member, Project, Role, User
from vpspanel.servers.models import Lifecycle, PowerSeen, Server, ServerType


@pytest.fixture(scope="session")
def panel(django_db_setup: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
    """One for all tests: they differ in their people and servers."""
    with running(tmp_path_factory.mktemp("panel")) as started:
        yield started


@dataclass
class World:
    """Alice owns the project, Olga operates, Rita reads; Mallory has a project of her own."""

    host: Host
    driver: FakeDriver
    project: Project
    alice: User
    olga: User
    rita: User
    mallory: User
    server: Server
    foreign: Server

    def add_server(self, project: Project, name: str, *, running: bool = True) -> Server:
        """A server with a guest on the simulated host."""
        plan, _ = ServerType.objects.get_or_create(
            name="tiny", defaults={"vcpus": 1, "memory_mib": 64, "disk_gib": 1}
        )
        uuid = uuid4()
        server = Server.objects.create(
            uuid=uuid,
            project=project,
            name=name,
            server_type=plan,
            location=self.host.location,
            host=self.host,
            vcpus=1,
            memory_mib=64,
            disk_gib=1,
            mac=f"52:54:00:{uuid.hex[0:2]}:{uuid.hex[2:4]}:{uuid.hex[4:6]}",
            lifecycle=Lifecycle.ACTIVE,
            power_seen=PowerSeen.RUNNING if running else PowerSeen.OFF,
        )
        self.driver.define(
            DomainSpec(
                uuid=uuid,
                name=server.domain_name,
                vcpus=1,
                memory_mib=64,
                disks=(),
                nics=(),
                virt_type="qemu",
                metadata={"server": str(server.pk)},
            )
        )
        if running:
            self.driver.start(uuid)
        return server


def _person(name: str) -> User:
    return User.objects.create_user(f"{name}@example.com", "secret")


def _project(owner: User) -> Project:
    account = Account.objects.create(name=f"{owner.email}'s")
    project = Project.objects.create(account=account, name="Default")
    Member.objects.create(project=project, user=owner, role=Role.OWNER)
    return project


@pytest.fixture
def world(transactional_db: None, tmp_path: Path) -> Iterator[World]:
    """People, a host and two running servers."""
    alice, olga, rita, mallory = map(_person, ("alice", "olga", "rita", "mallory"))
    project = _project(alice)
    Member.objects.create(project=project, user=olga, role=Role.OPERATOR)
    Member.objects.create(project=project, user=rita, role=Role.READER)
    host = Host.objects.create(
        name="fake1",
        location=Location.objects.create(name="lab"),
        uri=f"fake:///fake1?dir={tmp_path}",
    )
    driver = FakeDriver(host.uri)
    unset = Server()
    made = World(host, driver, project, alice, olga, rita, mallory, unset, unset)
    made.server = made.add_server(project, "web")
    made.foreign = made.add_server(_project(mallory), "foreign")
    yield made
    driver.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """A tab that fails the test if the page's policy was broken or a script failed."""
    tab = context.new_page()
    wrong: list[str] = []
    tab.on("pageerror", lambda error: wrong.append(str(error)))
    tab.on(
        "console", lambda said: wrong.append(said.text) if "Content Security" in said.text else None
    )
    yield tab
    assert wrong == []
