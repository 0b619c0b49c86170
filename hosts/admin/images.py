"""Images for staff: how far a file is, what went wrong, and which hosts hold it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import Count
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.safestring import SafeString

from hosts.admin.parts import STYLE, CarefulAdmin, ReadOnlyAdmin, progress, word
from hosts.models import Image, ImageStatus, StagedImage

IMAGE_TONES = {
    ImageStatus.AVAILABLE: "good",
    ImageStatus.CREATING: "busy",
    ImageStatus.UNAVAILABLE: "plain",
}


@admin.register(Image)
class ImageAdmin(CarefulAdmin):
    """Images. The catalogue has the facts; `manage.py image_fetch` and `image_build` make files."""

    list_display = (
        "description",
        "name",
        "type",
        "state",
        "step",
        "size",
        "min_disk_gib",
        "min_memory_mib",
        "copies",
        "deprecated",
    )
    list_filter = ("status", "type", "os_flavor", "architecture")
    search_fields = ("name", "description", "sha256")
    readonly_fields = (
        "description",
        "name",
        "type",
        "state",
        "step",
        "os_flavor",
        "os_version",
        "architecture",
        "sha256",
        "format",
        "file",
        "size",
        "virtual_size",
        "min_disk_gib",
        "min_memory_mib",
        "default_user",
        "has_agent",
        "owner",
        "created_from_name",
        "labels",
        "protect_delete",
        "created",
    )
    fields = (*readonly_fields, "deprecated")

    class Media:
        css = STYLE

    def get_changelist_instance(self, request: HttpRequest) -> Any:
        """Count the copies of all images at once: they are joined by checksum, not by a key."""
        changelist = super().get_changelist_instance(request)
        digests = {image.sha256 for image in changelist.result_list if image.sha256}
        rows = StagedImage.objects.filter(sha256__in=digests).values("sha256")
        counts = dict(rows.annotate(n=Count("pk")).values_list("sha256", "n").order_by())
        for image in changelist.result_list:
            image.copy_count = counts.get(image.sha256, 0)
        return changelist

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(ordering="status")
    def state(self, image: Image) -> SafeString:
        shown = word(image.get_status_display(), IMAGE_TONES[ImageStatus(image.status)])
        return format_html('{}<span class="detail">{}</span>', shown, image.error)

    @admin.display(description="progress")
    def step(self, image: Image) -> SafeString | str:
        if not image.progress_step:
            return ""
        bar = progress(image.progress)
        return format_html('{}<span class="detail">{}</span>', bar, image.progress_step)

    @admin.display(ordering="size_bytes")
    def size(self, image: Image) -> str:
        return filesizeformat(image.size_bytes)

    @admin.display(description="disk size")
    def virtual_size(self, image: Image) -> str:
        return filesizeformat(image.virtual_size_bytes)

    @admin.display(description="on hosts")
    def copies(self, image: Any) -> int:
        return int(image.copy_count)


@admin.register(StagedImage)
class StagedImageAdmin(ReadOnlyAdmin):
    """Base volumes that lie on pools."""

    list_display = ("volume", "pool", "sha256", "staged_at")
    list_filter = ("pool__host",)
    search_fields = ("sha256", "volume")
    list_select_related = ("pool__host",)
