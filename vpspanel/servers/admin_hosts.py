"""The machine room's pages for staff, with a record of what they change.

`hosts` knows no events, so its pages get them here.
"""

from __future__ import annotations

from django.contrib import admin
from django.db.models import Model

import hosts.admin  # noqa: F401 registers the pages that are replaced here
from hosts.models import Host, Image, IPPool, Location, StoragePool
from hosts.models_fleet import Enrolment, KnownHostKey
from vpspanel.events.staff import ModelAdmin, Recorded
from vpspanel.servers.admin_host_pages import HostPages
from vpspanel.servers.admin_isos import IsoPages

WRITTEN_BY_STAFF = (Enrolment, Host, Image, IPPool, KnownHostKey, Location, StoragePool)
MORE: dict[type[Model], tuple[type[ModelAdmin], ...]] = {Host: (HostPages,), Image: (IsoPages,)}


def record_changes() -> None:
    """Put pages in place of the registered ones that leave an event of each change."""
    for model in WRITTEN_BY_STAFF:
        pages = type(admin.site.get_model_admin(model))
        admin.site.unregister(model)
        kinds: tuple[type, ...] = (Recorded, *MORE.get(model, ()), pages)
        admin.site.register(model, type(pages.__name__, kinds, {}))
