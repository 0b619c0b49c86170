"""What can be ordered, arranged for the eye: images by system, plans by place."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

from hosts.models import Image, ImageStatus, ImageType, Location
from vpspanel.servers.images import usable_images
from vpspanel.servers.models import ServerType
from vpspanel.servers.ordering import Offer

_SYSTEMS = {
    "almalinux": "AlmaLinux",
    "alpine": "Alpine",
    "arch": "Arch Linux",
    "archlinux": "Arch Linux",
    "opensuse": "openSUSE",
    "rocky": "Rocky Linux",
    "unknown": "Other",
}


@dataclass(frozen=True, slots=True)
class System:
    """An operating system and the versions of it."""

    flavor: str
    name: str
    images: list[Image]


@dataclass(slots=True)
class Place:
    """A location with what it sells."""

    location: Location
    offers: list[Offer] = field(default_factory=list)

    @property
    def sold_out(self) -> bool:
        """True if nothing can be ordered there now."""
        return all(offer.sold_out for offer in self.offers)


def systems(project_id: int) -> list[System]:
    """The images to choose from, those that are still being prepared included; own ones last.

    Two queries.
    """
    images = Image.objects.filter(
        type=ImageType.SYSTEM,
        status__in=(ImageStatus.AVAILABLE, ImageStatus.CREATING),
        owner__isnull=True,
        deprecated__isnull=True,
    ).order_by("os_flavor", "-os_version", "description")
    catalogue = [
        System(flavor, _SYSTEMS.get(flavor, flavor.capitalize()), list(group))
        for flavor, group in groupby(images, key=lambda image: image.os_flavor)
    ]
    own = list(usable_images(project_id).filter(owner__isnull=False).order_by("-created"))
    return [*catalogue, System("snapshot", "Your snapshots", own)] if own else catalogue


def default_image(offered: list[System]) -> Image | None:
    """The newest Debian if there is one, else the first image that is ready."""
    ready = [
        image
        for system in sorted(offered, key=lambda system: system.flavor != "debian")
        for image in system.images
        if image.status == ImageStatus.AVAILABLE
    ]
    return ready[0] if ready else None


def places(offers: list[Offer]) -> list[Place]:
    """The offers by location, in the order in which they come."""
    found: dict[int, Place] = {}
    for offer in offers:
        found.setdefault(offer.location.pk, Place(offer.location)).offers.append(offer)
    return list(found.values())


def fits(image: Image, plan: ServerType) -> bool:
    """Whether the plan is large enough for the image."""
    return plan.disk_gib >= image.min_disk_gib and plan.memory_mib >= image.min_memory_mib
