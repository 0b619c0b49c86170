"""Places, machines and their disks. Counters and facts are shown; only services write them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import ValidationError
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from hosts.admin.parts import STYLE, CarefulAdmin, ModelForm, ReadOnlyAdmin, meter, word
from hosts.enrol import share_again, share_pool_again
from hosts.figures import latest_of_hosts
from hosts.models import CapacityClaim, Host, HostStatus, Location, StoragePool
from hosts.placement import tag_column

HOST_TONES = {
    HostStatus.REACHABLE: "good",
    HostStatus.DEGRADED: "warn",
    HostStatus.UNREACHABLE: "bad",
    HostStatus.UNKNOWN: "plain",
}


@admin.register(Location)
class LocationAdmin(CarefulAdmin):
    """Places: all of it is staff's own."""

    list_display = ("name", "description", "city", "country", "accepting", "hosts")
    list_filter = ("accepting",)
    search_fields = ("name", "description", "city")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(host_count=Count("hosts"))

    @admin.display(ordering="host_count")
    def hosts(self, location: Any) -> int:
        return int(location.host_count)


class HostForm(ModelForm):
    """Guests get on a network of libvirt or on a bridge, never both."""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        if data.get("network") and data.get("bridge"):
            raise ValidationError("Give either a libvirt network or a bridge of the host.")
        return data

    def clean_tags(self) -> str:
        return tag_column(self.cleaned_data["tags"])


class SharingAdmin(CarefulAdmin):
    """Rows whose limits follow from overcommit and reserve, unless staff set them."""

    shares: tuple[str, ...]
    limits: tuple[str, ...]
    share_again: Callable[[Any], None]

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm, change: bool) -> None:
        changed = set(form.changed_data)
        if changed & set(self.shares):
            kept = {name: getattr(obj, name) for name in changed & set(self.limits)}
            self.share_again(obj)
            for name, value in kept.items():
                setattr(obj, name, value)
            form.changed_data.extend(set(self.limits) - changed)
        super().save_model(request, obj, form, change)


@admin.register(Host)
class HostAdmin(SharingAdmin):
    """KVM machines. New ones come by an enrolment, which asks the machine itself."""

    form = HostForm
    change_list_template = "admin/hosts/host/change_list.html"
    list_display = (
        "name",
        "location",
        "state",
        "way",
        "accepting",
        "vcpus",
        "memory",
        "disk",
        "guests",
        "seen_at",
    )
    list_filter = ("status", "location", "accepting", "virt_type")
    search_fields = ("name", "hostname", "uri", "host_uuid")
    list_select_related = ("location",)
    actions = ("stop_selling", "sell_again")
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "name",
                    "location",
                    "uri",
                    "accepting",
                    "state",
                    "figures",
                    "status_since",
                    "seen_at",
                )
            },
        ),
        (
            "What may be sold",
            {
                "fields": (
                    "vcpus",
                    "cpu_overcommit",
                    "vcpus_limit",
                    "memory",
                    "memory_reserve_mib",
                    "memory_overcommit",
                    "memory_limit_mib",
                    "disk",
                    "tags",
                    "tagged_only",
                    "action_limit",
                ),
                "description": "A change of overcommit or reserve computes the limit anew, "
                "unless the limit is changed as well. What is sold already stays sold.",
            },
        ),
        ("Where guests are connected", {"fields": ("network", "bridge", "move_address")}),
        (
            "What the machine says",
            {
                "fields": (
                    "hostname",
                    "host_uuid",
                    "architecture",
                    "cpu_model",
                    "cpus",
                    "memory_mib",
                    "way",
                    "libvirt_version",
                    "hypervisor_version",
                    "created",
                )
            },
        ),
    )
    editable = (
        "accepting",
        "cpu_overcommit",
        "vcpus_limit",
        "memory_reserve_mib",
        "memory_overcommit",
        "memory_limit_mib",
        "tags",
        "tagged_only",
        "action_limit",
        "network",
        "bridge",
    )
    shares = ("cpu_overcommit", "memory_reserve_mib", "memory_overcommit")
    limits = ("vcpus_limit", "memory_limit_mib")
    share_again = staticmethod(share_again)

    class Media:
        css = STYLE

    def get_queryset(self, request: HttpRequest) -> Any:
        return (
            super()
            .get_queryset(request)
            .prefetch_related("pools")
            .annotate(guest_count=Count("claims"))
        )

    def get_readonly_fields(self, request: HttpRequest, obj: Host | None = None) -> list[Any]:
        shown = [name for _, options in self.fieldsets for name in options["fields"]]
        return [name for name in shown if name not in self.editable]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Host | None = None) -> bool:
        return False

    @admin.display(ordering="status")
    def state(self, host: Host) -> SafeString:
        shown = word(host.get_status_display(), HOST_TONES[HostStatus(host.status)])
        since = f"for {timesince(host.status_since)}" if host.status_since else ""
        return format_html('{} {}<span class="detail">{}</span>', shown, since, host.status_reason)

    @admin.display(description="in use")
    def figures(self, host: Host) -> str:
        now = timezone.now()
        sample = latest_of_hosts([host.pk], now - timedelta(minutes=5)).get(host.pk)
        if sample is None:
            return "not measured in the last five minutes"
        cpu = "?" if sample.cpu_percent is None else f"{sample.cpu_percent / 100:.1f}"
        memory = "?" if sample.memory_mib is None else f"{sample.memory_mib:.0f}"
        return (
            f"{cpu} of {host.cpus} CPUs, {memory} of {host.memory_mib} MiB of memory, "
            f"{sample.guests or 0:.0f} guests"
        )

    @admin.display(description="virtualisation", ordering="virt_type")
    def way(self, host: Host) -> SafeString:
        name = "KVM" if host.virt_type == "kvm" else "emulation (TCG)"
        return format_html('{}<span class="detail">{}</span>', name, host.virt_reason)

    @admin.display(description="vCPUs sold")
    def vcpus(self, host: Host) -> SafeString:
        return meter(host.vcpus_used, host.vcpus_limit, "vCPUs")

    @admin.display(description="memory sold")
    def memory(self, host: Host) -> SafeString:
        return meter(host.memory_used_mib, host.memory_limit_mib, "MiB")

    @admin.display(description="disk sold")
    def disk(self, host: Host) -> SafeString:
        pools = list(host.pools.all())
        used, limit = sum(p.used_gib for p in pools), sum(p.limit_gib for p in pools)
        return meter(used, limit, "GiB")

    @admin.display(ordering="guest_count")
    def guests(self, host: Any) -> int:
        return int(host.guest_count)

    @admin.action(description="Stop selling from these hosts", permissions=["change"])
    def stop_selling(self, request: HttpRequest, hosts: QuerySet[Host]) -> None:
        self._set_accepting(request, hosts, accepting=False)

    @admin.action(description="Sell from these hosts again", permissions=["change"])
    def sell_again(self, request: HttpRequest, hosts: QuerySet[Host]) -> None:
        self._set_accepting(request, hosts, accepting=True)

    def _set_accepting(
        self, request: HttpRequest, hosts: QuerySet[Host], *, accepting: bool
    ) -> None:
        said = "Sells again" if accepting else "Stopped selling"
        for host in hosts.exclude(accepting=accepting):
            Host.objects.filter(pk=host.pk).update(accepting=accepting)
            self.log_change(request, host, said)
            self.message_user(request, f"{said}: {host}.", messages.SUCCESS)


class PoolForm(ModelForm):
    """Pools that are said to be the same storage must at least look the same."""

    def clean_shared_id(self) -> str:
        shared_id = str(self.cleaned_data["shared_id"]).strip()
        pool = self.instance
        others = StoragePool.objects.filter(shared_id=shared_id).exclude(pk=pool.pk)
        if not shared_id:
            return ""
        for other in others.select_related("host"):
            if other.host_id == pool.host_id:
                raise ValidationError(f"This host sees that storage already, as {other.name}.")
            if other.path != pool.path:
                raise ValidationError(
                    f"{other.host} has it at {other.path}, not at {pool.path}. A disk names the "
                    "image that it stands on by its path, so both must have the same."
                )
        return shared_id


@admin.register(StoragePool)
class StoragePoolAdmin(SharingAdmin):
    """Where disks lie. Pools come with their host."""

    form = PoolForm
    list_display = ("name", "host", "type", "path", "shared_id", "sold", "accepting")
    list_filter = ("accepting", "shared_id", "host__location")
    search_fields = ("name", "host__name", "path")
    list_select_related = ("host",)
    fields = (
        "host",
        "name",
        "type",
        "path",
        "shared_id",
        "sold",
        "capacity_gib",
        "reserve_gib",
        "overcommit",
        "limit_gib",
        "accepting",
    )
    readonly_fields = ("host", "name", "type", "path", "sold", "capacity_gib")
    shares = ("reserve_gib", "overcommit")
    limits = ("limit_gib",)
    share_again = staticmethod(share_pool_again)

    class Media:
        css = STYLE

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(ordering="used_gib")
    def sold(self, pool: StoragePool) -> SafeString:
        return meter(pool.used_gib, pool.limit_gib, "GiB")


@admin.register(CapacityClaim)
class CapacityClaimAdmin(ReadOnlyAdmin):
    """Who holds what of a host."""

    list_display = ("owner", "host", "pool", "vcpus", "memory_mib", "disk_gib", "created")
    list_filter = ("host",)
    search_fields = ("owner",)
    list_select_related = ("host", "pool__host")
