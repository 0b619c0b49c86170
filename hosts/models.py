"""The machine room's records: places, machines, room, addresses, images.

An *owner* here is an opaque UUID: this app knows no server and no customer.
Capacity and addresses are taken and given back by `hosts.services` only, by
conditional update, so that two buyers never get the same slot.
"""

from __future__ import annotations

from datetime import timedelta

from django.db import models
from django.db.models import F, Q
from django.db.models.expressions import CombinedExpression
from django.db.models.functions import Cast, Greatest

from hosts import models_fleet  # noqa: F401 - Django finds all models of the app here
from hosts.placement import CPU_POINTS, MEMORY_POINTS

GIB = 1024**3


class Location(models.Model):
    """A place that a customer can choose."""

    name = models.SlugField(max_length=32, unique=True)
    description = models.CharField(max_length=120, blank=True)
    city = models.CharField(max_length=80, blank=True)
    country = models.CharField(max_length=2, blank=True, help_text="ISO 3166-1 alpha-2")
    network_zone = models.CharField(max_length=32, default="default")
    latitude = models.FloatField(default=0.0)
    longitude = models.FloatField(default=0.0)
    accepting = models.BooleanField(default=True, help_text="Takes new orders")

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name


class HostStatus(models.TextChoices):
    """What the monitor last knew of a host."""

    UNKNOWN = "unknown", "unknown"
    REACHABLE = "reachable", "reachable"
    DEGRADED = "degraded", "degraded"
    UNREACHABLE = "unreachable", "unreachable"


def _share_free(limit: str, used: str, points: float) -> CombinedExpression:
    """The share that is free, in points; as `Candidate.points` has it."""
    free = Cast(F(limit) - F(used), models.FloatField())
    return models.Value(points) * free / Cast(Greatest(F(limit), 1), models.FloatField())


class Host(models.Model):
    """A KVM machine, reached by one libvirt URI."""

    name = models.SlugField(max_length=63, unique=True)
    location = models.ForeignKey(Location, models.PROTECT, related_name="hosts")
    uri = models.CharField(max_length=500, unique=True)
    host_uuid = models.UUIDField(null=True, unique=True, editable=False)
    accepting = models.BooleanField(default=True, help_text="Takes new servers")

    status = models.CharField(
        max_length=16, choices=HostStatus, default=HostStatus.UNKNOWN, editable=False
    )
    status_since = models.DateTimeField(null=True, editable=False)
    status_reason = models.CharField(max_length=500, blank=True, editable=False)
    seen_at = models.DateTimeField(null=True, editable=False)
    booted_at = models.DateTimeField(
        null=True, editable=False, help_text="When it was last seen to have booted"
    )
    cpu_time_ns = models.BigIntegerField(
        null=True, editable=False, help_text="All its CPUs' time since its boot, when last asked"
    )
    cpu_time_at = models.DateTimeField(null=True, editable=False)

    hostname = models.CharField(max_length=255, blank=True, editable=False)
    architecture = models.CharField(max_length=16, blank=True, editable=False)
    cpu_model = models.CharField(max_length=200, blank=True, editable=False)
    cpus = models.PositiveIntegerField(default=0, editable=False)
    memory_mib = models.PositiveBigIntegerField(default=0, editable=False)
    virt_type = models.CharField(max_length=8, default="qemu", editable=False)
    virt_reason = models.CharField(max_length=500, blank=True, editable=False)
    libvirt_version = models.CharField(max_length=32, blank=True, editable=False)
    hypervisor_version = models.CharField(max_length=64, blank=True, editable=False)

    network = models.CharField(max_length=64, blank=True, help_text="libvirt network for guests")
    bridge = models.CharField(max_length=15, blank=True, help_text="or a bridge of the host")

    move_address = models.CharField(
        "address for moves",
        max_length=255,
        blank=True,
        help_text="Where other hosts send running servers to, unencrypted: on a network that only "
        "hosts are on. Empty: that of its URI",
    )

    cpu_overcommit = models.FloatField(
        "vCPUs per CPU", default=4.0, help_text="How often a CPU is sold"
    )
    memory_overcommit = models.FloatField(
        default=1.0, help_text="How often memory is sold; more than 1 needs swap or sharing"
    )
    memory_reserve_mib = models.PositiveBigIntegerField(
        "memory reserve (MiB)",
        null=True,
        blank=True,
        help_text="Kept for the machine itself; empty: a tenth",
    )
    tags = models.CharField(
        max_length=200, blank=True, help_text="Words that plans can ask for: nvme dedicated"
    )
    tagged_only = models.BooleanField(
        default=False, help_text="Only for plans that ask for one of its tags"
    )
    vcpus_limit = models.PositiveIntegerField(default=0, help_text="vCPUs that may be sold")
    vcpus_used = models.PositiveIntegerField(default=0, editable=False)
    memory_limit_mib = models.PositiveBigIntegerField(default=0, help_text="MiB that may be sold")
    memory_used_mib = models.PositiveBigIntegerField(default=0, editable=False)
    action_limit = models.PositiveSmallIntegerField(
        default=4, help_text="Actions that may run on it at once"
    )
    points = models.GeneratedField(
        expression=_share_free("memory_limit_mib", "memory_used_mib", MEMORY_POINTS)
        + _share_free("vcpus_limit", "vcpus_used", CPU_POINTS),
        output_field=models.FloatField(),
        db_persist=True,
        help_text="What placement thinks of its free memory and CPUs",
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("name",)
        indexes = [
            # The best hosts of a large location are found without looking at all of them.
            models.Index(
                "location",
                F("points").desc(),
                condition=Q(accepting=True, status=HostStatus.REACHABLE),
                name="host_best_first",
            )
        ]

    def __str__(self) -> str:
        return self.name


class StoragePool(models.Model):
    """A libvirt storage pool of a host, in which disks are sold."""

    host = models.ForeignKey(Host, models.CASCADE, related_name="pools")
    name = models.CharField(max_length=64)
    type = models.CharField(max_length=16, default="dir")
    path = models.CharField(max_length=255)
    shared_id = models.CharField(
        "shared as",
        max_length=100,
        blank=True,
        help_text="One name for the same storage on all hosts that see it; empty: this host's own",
    )
    capacity_gib = models.PositiveBigIntegerField(
        default=0, editable=False, help_text="GiB that were free when it was enrolled"
    )
    overcommit = models.FloatField(
        default=1.0, help_text="How often a GiB is sold; disks grow as they are written"
    )
    reserve_gib = models.PositiveBigIntegerField(
        "reserve (GiB)", null=True, blank=True, help_text="Kept free; empty: a tenth"
    )
    limit_gib = models.PositiveBigIntegerField(default=0, help_text="GiB that may be sold")
    used_gib = models.PositiveBigIntegerField(default=0, editable=False)
    accepting = models.BooleanField(default=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=("host", "name"), name="pool_name_on_host")]
        ordering = ("host", "name")

    def __str__(self) -> str:
        return f"{self.host_id}:{self.name}"


class CapacityClaim(models.Model):
    """What one owner holds of a host. The counters on Host and StoragePool are sums of these."""

    owner = models.UUIDField(unique=True)
    host = models.ForeignKey(Host, models.PROTECT, related_name="claims")
    pool = models.ForeignKey(StoragePool, models.PROTECT, related_name="claims")
    vcpus = models.PositiveIntegerField()
    memory_mib = models.PositiveBigIntegerField()
    disk_gib = models.PositiveBigIntegerField()
    spread = models.UUIDField(null=True, help_text="No two claims of a spread are on one host")
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=("spread", "host"), condition=Q(spread__isnull=False), name="claim_spread"
            )
        ]

    def __str__(self) -> str:
        return f"{self.owner} on {self.host_id}"


class Family(models.IntegerChoices):
    """IP version."""

    V4 = 4, "IPv4"
    V6 = 6, "IPv6"


class IPPool(models.Model):
    """A network from which owners get an IPv4 address or an IPv6 /64 each."""

    location = models.ForeignKey(Location, models.CASCADE, related_name="ip_pools")
    name = models.SlugField(max_length=63, unique=True)
    family = models.PositiveSmallIntegerField(choices=Family)
    network = models.CharField(max_length=64, help_text="CIDR, for example 192.0.2.0/24")
    gateway = models.GenericIPAddressField()
    first_index = models.PositiveBigIntegerField(
        default=2, help_text="The first address (or /64) that is sold, counted from the network"
    )
    last_index = models.PositiveBigIntegerField(help_text="The last one that is sold")
    next_index = models.PositiveBigIntegerField(editable=False, help_text="The next never used one")
    dns_servers = models.JSONField(default=list, blank=True)
    quarantine = models.DurationField(
        default=timedelta(hours=1), help_text="How long a freed address rests"
    )
    accepting = models.BooleanField(default=True)

    class Meta:
        verbose_name = "IP pool"
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(
                name="ippool_next_in_range",
                condition=Q(next_index__gte=F("first_index"))
                & Q(next_index__lte=F("last_index") + 1),
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.network})"


class IPAddress(models.Model):
    """One sellable address: an IPv4 address, or an IPv6 /64 network in CIDR form."""

    pool = models.ForeignKey(IPPool, models.PROTECT, related_name="addresses")
    family = models.PositiveSmallIntegerField(choices=Family)
    address = models.CharField(max_length=64, unique=True)
    owner = models.UUIDField(null=True, db_index=True)
    taken_at = models.DateTimeField(null=True)
    free_after = models.DateTimeField(null=True, help_text="In quarantine until then")

    class Meta:
        verbose_name = "IP address"
        verbose_name_plural = "IP addresses"
        indexes = [
            models.Index(
                fields=("pool", "free_after"),
                condition=Q(owner__isnull=True),
                name="ipaddress_free",
            )
        ]

    def __str__(self) -> str:
        return self.address


class ImageType(models.TextChoices):
    """Where an image came from."""

    SYSTEM = "system", "system"
    SNAPSHOT = "snapshot", "snapshot"
    BACKUP = "backup", "backup"
    CUSTOM = "custom", "custom"
    ISO = "iso", "ISO"


class ImageStatus(models.TextChoices):
    """Whether an image can be ordered."""

    CREATING = "creating", "creating"
    AVAILABLE = "available", "available"
    UNAVAILABLE = "unavailable", "unavailable"


class Image(models.Model):
    """What a disk can be made from: a file, named by its SHA-256, that hosts hold a copy of."""

    type = models.CharField(max_length=16, choices=ImageType, default=ImageType.SYSTEM)
    status = models.CharField(max_length=16, choices=ImageStatus, default=ImageStatus.CREATING)
    name = models.SlugField(max_length=63, null=True, unique=True)
    description = models.CharField(max_length=200)
    os_flavor = models.CharField(max_length=32, default="unknown")
    os_version = models.CharField(max_length=32, blank=True)
    architecture = models.CharField(max_length=8, default="x86")
    sha256 = models.CharField(max_length=64, blank=True, db_index=True)
    format = models.CharField(max_length=8, default="qcow2")
    file = models.CharField(max_length=500, blank=True, help_text="Under the image directory")
    size_bytes = models.PositiveBigIntegerField(default=0)
    virtual_size_bytes = models.PositiveBigIntegerField(default=0)
    min_disk_gib = models.PositiveIntegerField(default=1)
    min_memory_mib = models.PositiveIntegerField(default=64)
    default_user = models.CharField(max_length=32, default="root")
    has_agent = models.BooleanField(default=False, help_text="Ships the QEMU guest agent")
    progress = models.PositiveSmallIntegerField(default=0)
    progress_step = models.CharField(max_length=120, blank=True)
    error = models.CharField(max_length=500, blank=True)
    owner = models.UUIDField(null=True, blank=True, help_text="The project of a private image")
    created_from_id = models.BigIntegerField(null=True, help_text="The server it is a copy of")
    created_from_name = models.CharField(max_length=63, blank=True)
    created_from_instance = models.PositiveIntegerField(
        null=True, blank=True, help_text="Whom cloud-init on it takes itself for, if it is known"
    )
    labels = models.JSONField(default=dict, blank=True)
    protect_delete = models.BooleanField(default=False)
    deprecated = models.DateTimeField(null=True, blank=True)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("description",)

    def __str__(self) -> str:
        return self.name or self.description

    @property
    def volume(self) -> str:
        """Name of the immutable base volume on every pool."""
        return f"img-{self.sha256[:40]}.{self.format}"


class StagedImage(models.Model):
    """A base volume that lies on a pool: the proof that a disk can be made at once."""

    pool = models.ForeignKey(StoragePool, models.CASCADE, related_name="staged")
    sha256 = models.CharField(max_length=64)
    volume = models.CharField(max_length=120)
    staged_at = models.DateTimeField(auto_now_add=True)
    size_bytes = models.PositiveBigIntegerField(
        "size", default=0, help_text="Bytes that it takes on its host"
    )
    users = models.PositiveIntegerField(
        default=0, help_text="Disks and guests that stood on it when its host was last looked at"
    )
    seen_at = models.DateTimeField(null=True, help_text="When its host was last looked at")
    unused_since = models.DateTimeField(
        null=True, help_text="Since when neither the host nor the records need it"
    )

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("pool", "sha256"), name="staged_once_per_pool")
        ]

    def __str__(self) -> str:
        return self.volume


class StagingTurn(models.Model):
    """Whose turn it is to copy an image to a pool, or to remove it there: one at a time."""

    pool = models.ForeignKey(StoragePool, models.CASCADE, related_name="+")
    sha256 = models.CharField(max_length=64)
    until = models.DateTimeField(help_text="Whoever had it and let this pass is taken for dead")
    removes = models.CharField(
        max_length=120, blank=True, help_text="The volume that its host was told to delete"
    )

    class Meta:
        constraints = [models.UniqueConstraint(fields=("pool", "sha256"), name="one_turn_per_pool")]

    def __str__(self) -> str:
        return f"{self.sha256[:12]} until {self.until}"
