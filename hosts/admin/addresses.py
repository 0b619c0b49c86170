"""Address pools and addresses for staff. Who holds an address, only services write."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count, Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from hosts.addressing import BadPool, check_pool, size
from hosts.admin.parts import STYLE, CarefulAdmin, ModelForm, ReadOnlyAdmin, meter, word
from hosts.models import IPAddress, IPPool


class IPPoolForm(ModelForm):
    """A pool whose numbers fit together."""

    def clean(self) -> dict[str, Any]:
        data = super().clean() or {}
        pool = self.instance

        def value(name: str) -> Any:
            return data[name] if name in data else getattr(pool, name)

        names = ("family", "network", "gateway", "first_index", "last_index")
        if any(name in self.errors for name in names):
            return data
        try:
            network = check_pool(
                **{name: value(name) for name in names},
                others=IPPool.objects.exclude(pk=pool.pk),
            )
        except BadPool as error:
            self.add_error(error.field, str(error))
            return data
        if "network" in data:
            data["network"] = str(network)
        if pool.pk and value("last_index") + 1 < pool.next_index:
            self.add_error("last_index", f"Up to {pool.next_index - 1} is sold already.")
        return data


@admin.register(IPPool)
class IPPoolAdmin(CarefulAdmin):
    """Networks that addresses are sold from."""

    form = IPPoolForm
    list_display = (
        "name",
        "location",
        "family",
        "network",
        "gateway",
        "usage",
        "resting",
        "accepting",
    )
    list_filter = ("family", "location", "accepting")
    search_fields = ("name", "network")
    list_select_related = ("location",)
    fields = (
        "location",
        "name",
        "family",
        "network",
        "gateway",
        "first_index",
        "last_index",
        "dns_servers",
        "quarantine",
        "accepting",
    )

    class Media:
        css = STYLE

    def get_queryset(self, request: HttpRequest) -> Any:
        taken = Q(addresses__owner__isnull=False)
        resting = Q(addresses__owner__isnull=True, addresses__free_after__gt=timezone.now())
        return (
            super()
            .get_queryset(request)
            .annotate(
                taken_count=Count("addresses", filter=taken),
                resting_count=Count("addresses", filter=resting),
            )
        )

    def get_readonly_fields(
        self, request: HttpRequest, obj: IPPool | None = None
    ) -> tuple[str, ...]:
        """What addresses were sold by cannot change under them."""
        return ("location", "family", "network", "first_index") if obj else ()

    def save_model(self, request: HttpRequest, obj: Any, form: ModelForm, change: bool) -> None:
        if not change:
            obj.next_index = obj.first_index
        super().save_model(request, obj, form, change)

    @admin.display(ordering="taken_count")
    def usage(self, pool: Any) -> SafeString:
        return meter(pool.taken_count, size(pool), "in use")

    @admin.display(ordering="resting_count")
    def resting(self, pool: Any) -> int:
        return int(pool.resting_count)


@admin.register(IPAddress)
class IPAddressAdmin(ReadOnlyAdmin):
    """Addresses and who has them."""

    list_display = ("address", "family", "pool", "state", "owner", "taken_at", "free_after")
    list_filter = ("family", "pool", ("owner", admin.EmptyFieldListFilter))
    search_fields = ("address", "owner")
    list_select_related = ("pool",)

    class Media:
        css = STYLE

    @admin.display
    def state(self, address: IPAddress) -> SafeString:
        if address.owner is not None:
            return word("in use", "good")
        if address.free_after is not None and address.free_after > timezone.now():
            return word("resting", "warn")
        return word("free", "plain")
