"""Records of a fleet: how machines become hosts, and what is measured on them."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class KnownHostKey(models.Model):
    """The SSH host key of a machine, after staff compared its fingerprint: no other one counts."""

    place = models.CharField(
        max_length=255, unique=True, help_text="As known_hosts names it: 10.0.0.7, [10.0.0.7]:2222"
    )
    public_key = models.CharField(max_length=1000)
    fingerprint = models.CharField(max_length=100)
    confirmed_by = models.CharField(max_length=200)
    confirmed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        ordering = ("place",)
        verbose_name = "SSH host key"

    def __str__(self) -> str:
        return f"{self.place} {self.fingerprint}"


class EnrolmentState(models.TextChoices):
    """How far a machine is on its way to being a host."""

    LOOKING = "looking", "being looked over"
    CONFIRM = "confirm", "host key to be confirmed"
    FOUND = "found", "looked over"
    ENROLLING = "enrolling", "being enrolled"
    ENROLLED = "enrolled", "enrolled"


class Enrolment(models.Model):
    """What staff want to become a host, and what was found there: the monitor asks machines."""

    name = models.SlugField(max_length=63, help_text="What staff call it")
    location = models.ForeignKey("hosts.Location", models.PROTECT, related_name="+")
    uri = models.CharField(
        "URI",
        max_length=500,
        help_text="qemu+ssh://root@host/system, qemu+tls://host/system, or qemu:///system",
    )
    bridge = models.CharField(
        max_length=15, blank=True, help_text="A bridge of the machine for its guests …"
    )
    network = models.CharField(
        max_length=64, blank=True, help_text="… or a libvirt network, made there if missing"
    )
    network_bridge = models.CharField(
        max_length=15, default="vpspanel0", help_text="The bridge of that network"
    )
    network_ipv4 = models.CharField(
        "network IPv4", max_length=64, blank=True, help_text="The host on it: 10.80.0.1/24"
    )
    network_ipv6 = models.CharField(
        "network IPv6", max_length=64, blank=True, help_text="The host on it: fd80::1/48"
    )
    pool_name = models.CharField(max_length=64, default="vpspanel")
    pool_path = models.CharField(max_length=255, default="/var/lib/libvirt/images/vpspanel")
    vcpus_per_cpu = models.FloatField("vCPUs per CPU", default=4.0)
    memory_reserve_mib = models.PositiveBigIntegerField(
        "memory reserve (MiB)", null=True, blank=True, help_text="Kept for the machine itself"
    )
    disk_reserve_gib = models.PositiveBigIntegerField(
        "disk reserve (GiB)", null=True, blank=True, help_text="Kept for the machine itself"
    )

    state = models.CharField(
        max_length=16, choices=EnrolmentState, default=EnrolmentState.LOOKING, editable=False
    )
    steps = models.JSONField(default=list, editable=False)
    shown_key = models.CharField(max_length=1000, blank=True, editable=False)
    error = models.CharField(max_length=1000, blank=True, editable=False)
    host = models.ForeignKey(
        "hosts.Host", models.SET_NULL, null=True, editable=False, related_name="+"
    )
    busy_until = models.DateTimeField(
        null=True, editable=False, help_text="Some monitor is at it until then"
    )
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created",)

    def __str__(self) -> str:
        return f"{self.name} at {self.uri}"


class Sample(models.Model):
    """What was measured in the `step` seconds that begin at `at`, as averages."""

    step = models.PositiveSmallIntegerField(help_text="Seconds: 60, 300 or 3600")
    at = models.DateTimeField()
    cpu_percent = models.FloatField(null=True, help_text="Of one CPU: two busy ones are 200")
    memory_mib = models.FloatField(null=True)

    class Meta:
        abstract = True


class HostSample(Sample):
    """One host. `memory_mib` is what programs hold, caches not counted."""

    host = models.ForeignKey("hosts.Host", models.CASCADE, related_name="samples")
    guests = models.FloatField(null=True, help_text="Guests that ran")
    swap_mib = models.FloatField(null=True, help_text="Of this machine only, like the next")
    load_average = models.FloatField(null=True, help_text="How many ran or waited for a CPU")
    disk_read_bytes = models.FloatField(null=True, help_text="Per second, of all guests together")
    disk_write_bytes = models.FloatField(null=True)
    net_rx_bytes = models.FloatField(null=True)
    net_tx_bytes = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("host", "step", "at"), name="host_sample_once")
        ]
        indexes = [models.Index(fields=("step", "at"), name="host_sample_age")]

    def __str__(self) -> str:
        return f"{self.host_id} at {self.at}"


class GuestSample(Sample):
    """One guest; rates are per second."""

    owner = models.UUIDField()
    steal_percent = models.FloatField(null=True, help_text="Ready, but the host was busy")
    disk_read_bytes = models.FloatField(null=True)
    disk_write_bytes = models.FloatField(null=True)
    disk_read_requests = models.FloatField(null=True)
    disk_write_requests = models.FloatField(null=True)
    net_rx_bytes = models.FloatField(null=True)
    net_tx_bytes = models.FloatField(null=True)
    net_rx_packets = models.FloatField(null=True)
    net_tx_packets = models.FloatField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("owner", "step", "at"), name="guest_sample_once")
        ]
        indexes = [models.Index(fields=("step", "at"), name="guest_sample_age")]

    def __str__(self) -> str:
        return f"{self.owner} at {self.at}"
