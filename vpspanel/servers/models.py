"""A customer's VPS, what it was ordered as, and its addresses.

Facts live on separate axes and are never mixed: `lifecycle`, suspension,
`power_wanted` (the customer's word), `power_seen` (the host's word). The one
word that people read is computed from them in `states.py`.
"""

from __future__ import annotations

import uuid
from datetime import datetime

from django.conf import settings
from django.db import models
from django.db.models import Q

from hosts.models import Host, Image, IPAddress, Location
from vpspanel.accounts.models import Project, Suspender
from vpspanel.servers import (
    models_announcement,  # noqa: F401 - Django finds all models here
    models_drift,  # noqa: F401 - the same
    models_maintenance,  # noqa: F401 - the same
    models_order,  # noqa: F401 - the same
    models_period,  # noqa: F401 - the same
)

MICROS = 1_000_000
FIRST_DISK = 1  # the generation of the disk that a server begins with
KEEPS_WISH = "keeps_wish"  # argument of an action whose failure changes nothing that is wanted
# The columns of a server that hold secrets, as they are when they hold none.
NO_SECRETS: dict[str, bytes | str] = {
    "user_data_sealed": b"",
    "root_password_sealed": b"",
    "root_password_hash": "",
    "next_password_sealed": b"",
    "next_password_hash": "",
    "rescue_password_sealed": b"",
    "rescue_password_hash": "",
}


class ServerType(models.Model):
    """A plan."""

    name = models.SlugField(max_length=32, unique=True)
    description = models.CharField(max_length=80)
    category = models.CharField(max_length=40, default="Shared vCPU")
    vcpus = models.PositiveSmallIntegerField()
    memory_mib = models.PositiveIntegerField()
    disk_gib = models.PositiveIntegerField()
    traffic_gib = models.PositiveIntegerField(default=1024)
    architecture = models.CharField(max_length=8, default="x86")
    dedicated_cpu = models.BooleanField(default=False)
    host_tags = models.CharField(
        max_length=200, blank=True, help_text="Only on hosts with all of these tags: nvme dedicated"
    )
    deprecated = models.DateTimeField(null=True, blank=True)
    position = models.PositiveSmallIntegerField(default=0)

    class Meta:
        ordering = ("position", "memory_mib", "name")

    def __str__(self) -> str:
        return self.name


class ServerTypePrice(models.Model):
    """What a plan costs in a location, in millionths of the currency unit, without tax."""

    server_type = models.ForeignKey(ServerType, models.CASCADE, related_name="prices")
    location = models.ForeignKey(Location, models.CASCADE, related_name="+")
    hourly_micros = models.PositiveBigIntegerField()
    monthly_micros = models.PositiveBigIntegerField(help_text="The most that a month can cost")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("server_type", "location"), name="price_once")
        ]

    def __str__(self) -> str:
        return f"{self.server_type} in {self.location}"


class PlacementGroup(models.Model):
    """Servers of a project that shall not share a host."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    project = models.ForeignKey(Project, models.CASCADE, related_name="placement_groups")
    name = models.CharField(max_length=63)
    type = models.CharField(max_length=16, default="spread")
    labels = models.JSONField(default=dict, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(fields=("project", "name"), name="placement_group_name")
        ]

    def __str__(self) -> str:
        return self.name


class Lifecycle(models.TextChoices):
    """From order to grave."""

    CREATING = "creating", "creating"
    ACTIVE = "active", "active"
    DELETING = "deleting", "deleting"
    DELETED = "deleted", "deleted"


class PowerWanted(models.TextChoices):
    """What the customer asked for."""

    ON = "on", "on"
    OFF = "off", "off"


class PowerSeen(models.TextChoices):
    """What the host said."""

    RUNNING = "running", "running"
    OFF = "off", "off"
    PAUSED = "paused", "paused"
    CRASHED = "crashed", "crashed"
    UNKNOWN = "unknown", "unknown"
    MISSING = "missing", "missing"


class Server(models.Model):
    """A customer's VPS."""

    uuid = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    project = models.ForeignKey(Project, models.PROTECT, related_name="servers")
    name = models.CharField(max_length=63)
    server_type = models.ForeignKey(ServerType, models.PROTECT, related_name="servers")
    image = models.ForeignKey(Image, models.SET_NULL, null=True, related_name="+")
    iso = models.ForeignKey(
        Image, models.PROTECT, null=True, blank=True, related_name="+", help_text="In its CD-ROM"
    )
    iso_changed = models.BooleanField(
        default=False, help_text="It runs without the ISO, or with another: its next start shows it"
    )
    location = models.ForeignKey(Location, models.PROTECT, related_name="+")
    host = models.ForeignKey(Host, models.PROTECT, null=True, related_name="+")
    placement_group = models.ForeignKey(
        PlacementGroup, models.SET_NULL, null=True, blank=True, related_name="servers"
    )
    labels = models.JSONField(default=dict, blank=True)

    vcpus = models.PositiveSmallIntegerField()
    memory_mib = models.PositiveIntegerField()
    disk_gib = models.PositiveIntegerField()
    mac = models.CharField(max_length=17, unique=True)
    pool = models.CharField(max_length=64, blank=True, help_text="libvirt pool of its disks")
    disk_generation = models.PositiveIntegerField(
        default=FIRST_DISK, help_text="Part of the disk's name; a rebuild makes the next one"
    )
    restored_instance = models.PositiveIntegerField(
        null=True,
        blank=True,
        help_text="Of a disk made from a copy of its own: whom cloud-init on it takes itself for",
    )

    adopted_name = models.CharField(
        max_length=128, blank=True, help_text="Of a guest that was taken over: its name on its host"
    )
    adopted_disk = models.CharField(
        max_length=200, blank=True, help_text="The volume that it came with, until it is rebuilt"
    )

    lifecycle = models.CharField(max_length=16, choices=Lifecycle, default=Lifecycle.CREATING)
    suspended_at = models.DateTimeField(null=True, blank=True)
    suspended_reason = models.CharField(
        max_length=200, blank=True, help_text="The customer reads it"
    )
    suspender = models.CharField(max_length=12, choices=Suspender, blank=True)
    suspended_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    power_wanted = models.CharField(max_length=4, choices=PowerWanted, default=PowerWanted.ON)
    power_seen = models.CharField(max_length=16, choices=PowerSeen, default=PowerSeen.UNKNOWN)
    seen_at = models.DateTimeField(null=True)
    booted_at = models.DateTimeField(null=True, help_text="When the host last told of a (re)boot")

    protect_delete = models.BooleanField(default=False)
    protect_rebuild = models.BooleanField(default=False)

    authorized_keys = models.JSONField(default=list, help_text="Public keys it was ordered with")
    user_data_sealed = models.BinaryField(default=bytes)
    root_password_sealed = models.BinaryField(
        default=bytes, help_text="Until it was shown once, or a day has passed"
    )
    root_password_hash = models.CharField(
        max_length=200, blank=True, help_text="crypt(3), for the seed; blank once the seed is bare"
    )
    next_password_sealed = models.BinaryField(
        default=bytes, help_text="While it is being set: the one in use stays until it is"
    )
    next_password_hash = models.CharField(max_length=200, blank=True)
    seed_secret_since = models.DateTimeField(
        null=True, help_text="Since when the seed on the host holds secrets"
    )

    rescue_enabled = models.BooleanField(
        default=False, help_text="The next start boots the rescue system, once"
    )
    rescue_enabled_at = models.DateTimeField(null=True)
    in_rescue = models.BooleanField(
        default=False, help_text="It was last started with the rescue system"
    )
    rescue_password_sealed = models.BinaryField(
        default=bytes, help_text="Until it was shown once, or the rescue is over"
    )
    rescue_password_hash = models.CharField(
        max_length=200, blank=True, help_text="As long as the seed of the rescue system holds it"
    )

    created = models.DateTimeField(auto_now_add=True)
    deleted_at = models.DateTimeField(null=True)
    failed_reason = models.CharField(max_length=300, blank=True, help_text="Why it was never built")

    class Meta:
        ordering = ("name",)
        constraints = [
            models.UniqueConstraint(
                fields=("project", "name"),
                condition=~Q(lifecycle=Lifecycle.DELETED),
                name="server_name_in_project",
            )
        ]
        indexes = [
            models.Index(fields=("project", "lifecycle", "name"), name="server_list"),
            models.Index(fields=("host", "lifecycle"), name="server_on_host"),
            models.Index(
                fields=("suspended_at",),
                condition=Q(suspended_at__isnull=False),
                name="server_suspended",
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_suspended(self) -> bool:
        """True while it or the whole account is suspended."""
        return self.suspended_since is not None

    @property
    def suspended_since(self) -> datetime | None:
        """Since when it or its account is suspended; None if neither is."""
        return self.suspended_at or self.project.account.suspended_at

    @property
    def suspension_reason(self) -> str:
        """Why, for the customer; "" if nobody said so."""
        if self.suspended_at is not None:
            return self.suspended_reason
        return self.project.account.suspended_reason

    @property
    def should_run(self) -> bool:
        """It is wanted on, and not suspended."""
        return self.power_wanted == PowerWanted.ON and not self.is_suspended

    @property
    def instance(self) -> int:
        """Which instance it is to cloud-init, for which each new system is another one."""
        return self.restored_instance or self.disk_generation

    @property
    def has_adopted_disk(self) -> bool:
        """It runs on the disk that it came with: no image is below it, and there is no seed."""
        return bool(self.adopted_disk) and self.disk_generation == FIRST_DISK

    def disk_volume(self, generation: int | None = None) -> str:
        """Name of its disk; `generation` defaults to the one in use."""
        number = generation or self.disk_generation
        if self.adopted_disk and number == FIRST_DISK:
            return self.adopted_disk
        return f"vps-{self.uuid}-{number}.qcow2"

    @property
    def volumes(self) -> tuple[str, ...]:
        """Names of its disk and of its seed, if it has one."""
        disk = self.disk_volume()
        return (disk,) if self.has_adopted_disk else (disk, self.seed_volume)

    def owns_volume(self, name: str) -> bool:
        """Whether a volume of its pool is one of its own, by its name."""
        return name.startswith(f"vps-{self.uuid}-") or (
            bool(self.adopted_disk) and name == self.adopted_disk
        )

    @property
    def seed_volume(self) -> str:
        """Name of its cloud-init disk."""
        return f"vps-{self.uuid}-seed.img"

    @property
    def rescue_volumes(self) -> tuple[str, str]:
        """Names of the disk and of the cloud-init disk of its rescue system."""
        return f"vps-{self.uuid}-rescue.qcow2", f"vps-{self.uuid}-rescue-seed.img"

    @property
    def copy_volume(self) -> str:
        """Name of the flat copy of its disk while a snapshot is made."""
        return f"vps-{self.uuid}-copy.qcow2"

    @property
    def domain_name(self) -> str:
        """Name of its domain: never the customer's text."""
        return self.adopted_name or f"vps-{self.uuid}"

    @property
    def filter_name(self) -> str:
        """Name of its network filter."""
        return f"vps-{self.uuid}"


class Leaving(models.TextChoices):
    """Whether an address is just being taken from its server."""

    NOT = "", "no"
    KEPT = "kept", "it is kept"
    FOR_GOOD = "for_good", "it is given back"


class PrimaryIP(models.Model):
    """A public address of a project. Its server holds it; without one it holds itself."""

    uuid = models.UUIDField(
        default=uuid.uuid4, unique=True, editable=False, help_text="Who holds it without a server"
    )
    project = models.ForeignKey(Project, models.PROTECT, related_name="primary_ips")
    server = models.ForeignKey(Server, models.SET_NULL, null=True, related_name="primary_ips")
    address = models.OneToOneField(IPAddress, models.PROTECT, related_name="primary_ip")
    name = models.CharField(max_length=80)
    auto_delete = models.BooleanField(default=True, help_text="It goes with its server")
    protect_delete = models.BooleanField(default=False)
    leaving = models.CharField(max_length=8, choices=Leaving, default=Leaving.NOT, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "primary IP"
        ordering = ("address__family", "id")
        constraints = [models.UniqueConstraint(fields=("project", "name"), name="primary_ip_name")]

    def __str__(self) -> str:
        return str(self.address)


class Restart(models.Model):
    """A server to be started again: it stopped with its host's boot, or was suspended."""

    server = models.OneToOneField(Server, models.CASCADE, related_name="restart")
    host = models.ForeignKey(Host, models.CASCADE, related_name="+")
    after_suspension = models.BooleanField(default=False, help_text="Otherwise after a boot")
    since = models.DateTimeField(
        help_text="When the boot of the host was seen, or the suspension was lifted"
    )
    tries = models.PositiveSmallIntegerField(default=0)
    next_try = models.DateTimeField()
    given_up = models.BooleanField(
        default=False, help_text="Every try failed; staff have to look at it"
    )

    class Meta:
        verbose_name = "restart"
        ordering = ("next_try", "pk")

    def __str__(self) -> str:
        return f"{self.server_id} on {self.host_id}"


class StaleCopy(models.Model):
    """A guest of ours on a host that its server does not live on any more."""

    server = models.ForeignKey(Server, models.CASCADE, related_name="stale_copies")
    host = models.ForeignKey(Host, models.CASCADE, related_name="+")
    power = models.CharField(max_length=16, choices=PowerSeen)
    evacuated = models.BooleanField(
        default=False, help_text="The server was evacuated from here: the host was to run nothing"
    )
    found_at = models.DateTimeField(auto_now_add=True)
    seen_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "stale copies"
        ordering = ("host", "pk")
        constraints = [
            models.UniqueConstraint(fields=("server", "host"), name="stale_copy_on_host")
        ]

    def __str__(self) -> str:
        return f"{self.server_id} on {self.host_id}"
