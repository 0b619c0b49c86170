"""Where a step works: one server, its host, and the translation of what hosts answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from hosts.models import Host, Image, IPAddress, StoragePool
from hosts.virt.driver import Driver
from hosts.virt.errors import (
    AlreadyExists,
    CallTimeout,
    DiskFull,
    ForeignObject,
    HostDegraded,
    HostUnreachable,
    VirtError,
)
from hosts.virt.registry import driver_for
from hosts.virt.spec import Power
from vpspanel.actions.command import Context
from vpspanel.actions.errors import Fail, Park, Retry
from vpspanel.actions.models import Action
from vpspanel.sealing import unseal
from vpspanel.servers.blueprint import Blueprint, Secrets
from vpspanel.servers.models import Server

PATIENCE = 45.0  # seconds that a host may be silent before its action is parked

_SENTENCES: dict[type[VirtError], str] = {
    HostUnreachable: "Its host does not answer at the moment.",
    CallTimeout: "Its host did not answer in time.",
    HostDegraded: "Its host needs the attention of our staff.",
    DiskFull: "Its host has no disk space left.",
    ForeignObject: "Its place on the host is taken.",
    AlreadyExists: "Its place on the host is taken.",
}
_GENERIC = "Its host could not do it. Our staff can see why."


@dataclass(slots=True)
class Site:
    """One server as a step sees it, loaded fresh from the records."""

    context: Context
    server: Server
    host: Host

    @property
    def driver(self) -> Driver:
        """The host. Raises `Fenced` if this worker has lost the action meanwhile."""
        self.context.ensure_mine()
        return driver_for(self.host.uri)

    @property
    def action(self) -> Action:
        """The action in hand."""
        return self.context.action

    def blueprint(self) -> Blueprint:
        """What it is made of."""
        addresses = IPAddress.objects.filter(owner=self.server.uuid).select_related("pool")
        return Blueprint(self.server, self.host, tuple(addresses.order_by("family", "pk")))

    def pool(self) -> StoragePool:
        """Where its disks lie."""
        return StoragePool.objects.select_related("host").get(host=self.host, name=self.server.pool)

    def image(self) -> Image:
        """What its disk is made from. Raises `Fail` if staff removed it meanwhile."""
        if self.server.image is None:
            raise Fail("image_gone", "This image is no longer available.")
        return self.server.image

    def first_boot_secrets(self) -> Secrets:
        """What the seed holds until the first boot is over."""
        sealed = bytes(self.server.user_data_sealed)
        return Secrets(
            root_password_hash=self.server.root_password_hash,
            user_data=unseal(sealed) if sealed else "",
        )

    def rows(self) -> QuerySet[Server]:
        """The server's row; to be changed in an `Outcome.commit`."""
        return Server.objects.filter(pk=self.server.pk)

    def change(self, **changes: Any) -> None:
        """Change the server's row; for use in an `Outcome.commit`."""
        self.rows().update(**changes)


def site_of(context: Context) -> Site:
    """The server of an action, with its host. Raises `Fail` if it has none."""
    server = Server.objects.select_related("host", "image", "iso", "project").get(
        pk=context.action.resource_id
    )
    if server.host is None:
        raise Fail("no_host", "This server has no host.")
    return Site(context, server, server.host)


def planned_site_of(context: Context) -> Site:
    """The same, as it will be once the rebuild in hand has succeeded. Nothing of it is saved.

    Raises `Fail` if its disk would not be a new one.
    """
    site = site_of(context)
    args = context.action.args
    if args["generation"] <= site.server.disk_generation:
        raise Fail("overtaken", "Another rebuild came first.", detail=f"disk {args['generation']}")
    site.server.disk_generation = args["generation"]
    site.server.restored_instance = None
    site.server.authorized_keys = args["authorized_keys"]
    site.server.image = Image.objects.filter(pk=args["image"]).first()
    return site


def need_off(site: Site) -> None:
    """Raises `Fail` if the guest was started meanwhile, or is not there."""
    seen = site.driver.domain(site.server.uuid)
    if seen is None:
        raise Fail("guest_missing", "It is missing on its host. Our staff has to look at it.")
    if seen.power not in (Power.OFF, Power.CRASHED):
        raise Fail("server_not_stopped", "It was started meanwhile. Shut it down first.")


@contextlib.contextmanager
def host_answers(*, patience: float | None = PATIENCE) -> Iterator[None]:
    """Turn what a host says into what the engine understands.

    A silent host is waited for; without `patience` its silence counts like
    any other failed try.
    """
    try:
        yield
    except VirtError as error:
        raise _translated(error, patience) from error


def _translated(error: VirtError, patience: float | None) -> Exception:
    sentence = _SENTENCES.get(type(error), _GENERIC)
    if isinstance(error, HostUnreachable | CallTimeout):
        return Retry(error.code, sentence, detail=str(error), patience=patience)
    if isinstance(error, HostDegraded):
        return Park(error.code, sentence, detail=str(error))
    if error.retryable or error.code == VirtError.code:
        return Retry(error.code, sentence, detail=str(error))
    return Fail(error.code, sentence, detail=str(error))
