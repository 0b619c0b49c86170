"""The addresses of the API. Whatever is not here is answered in JSON all the same."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path, re_path, register_converter

from vpspanel.api import (
    absent,
    accounts,
    actions,
    events,
    images,
    limits,
    metrics,
    placement_groups,
    places,
    plans,
    primary_ips,
    projects,
    reference,
    schema,
    server_actions,
    servers,
    ssh_keys,
    stock,
    tokens,
    webhooks,
)
from vpspanel.api.absent import COLLECTIONS
from vpspanel.api.listing import LARGEST_ID
from vpspanel.api.view import ApiView, NotThere


class Id:
    """A number that every client can hold; a larger one is an address that is not there."""

    regex = "[0-9]{1,16}"

    def to_python(self, value: str) -> int:
        """The number. Raises ValueError, which means that nothing is there."""
        if int(value) > LARGEST_ID:
            raise ValueError(value)
        return int(value)

    def to_url(self, value: int) -> str:
        """The text."""
        return str(value)


register_converter(Id, "id")
app_name = "api"


def _absent(name: str) -> list[URLPattern]:
    """The addresses of a collection that is always empty."""
    known = {"collection": name}
    return [
        path(name, absent.AbsentList.as_view(), known, name=name),
        path(f"{name}/actions", absent.AbsentActions.as_view(), known, name=f"{name}_actions"),
        re_path(rf"^{name}/[0-9]+(?:/.*)?$", absent.AbsentOne.as_view(), name=f"{name}_one"),
    ]


def _actions(resource: str, kind: str, of_one: type[ApiView]) -> list[URLPattern]:
    """Where the actions of one kind of thing are."""
    one = actions.OneAction.as_view(kind=kind)
    every = actions.ActionsOf.as_view(kind=kind)
    return [
        path(f"{resource}/actions", every, name=f"{resource}_actions"),
        path(f"{resource}/actions/<id:action_id>", one, name=f"{resource}_action"),
        path(f"{resource}/<id:pk>/actions", of_one.as_view(), name=f"{kind}_actions"),
        path(f"{resource}/<id:pk>/actions/<id:action_id>", one, name=f"{kind}_action"),
    ]


v1: list[URLPattern] = [
    path("openapi.json", schema.openapi, name="openapi"),
    path("actions", actions.Actions.as_view(), name="actions"),
    path("actions/<id:action_id>", actions.OneAction.as_view(), name="action"),
    path("locations", places.Locations.as_view(), name="locations"),
    path("locations/<id:pk>", places.OneLocation.as_view(), name="location"),
    path("datacenters", places.Datacenters.as_view(), name="datacenters"),
    path("datacenters/<id:pk>", places.OneDatacenter.as_view(), name="datacenter"),
    path("server_types", plans.ServerTypes.as_view(), name="server_types"),
    path("server_types/<id:pk>", plans.OneServerType.as_view(), name="server_type"),
    path("pricing", plans.Pricing.as_view(), name="pricing"),
    path("images", images.Images.as_view(), name="images"),
    *_actions("images", "image", actions.ImageActions),
    path("images/<id:pk>", images.OneImage.as_view(), name="image"),
    path(
        "images/<id:pk>/actions/change_protection",
        images.ProtectImage.as_view(),
        name="image_protection",
    ),
    path("primary_ips", primary_ips.PrimaryIPs.as_view(), name="primary_ips"),
    *_actions("primary_ips", "primary_ip", actions.PrimaryIPActions),
    path("primary_ips/<id:pk>", primary_ips.OnePrimaryIP.as_view(), name="primary_ip"),
    path(
        "primary_ips/<id:pk>/actions/<slug:verb>",
        primary_ips.PrimaryIPAction.as_view(),
        name="primary_ip_verb",
    ),
    path("placement_groups", placement_groups.Groups.as_view(), name="placement_groups"),
    path("placement_groups/<id:pk>", placement_groups.OneGroup.as_view(), name="placement_group"),
    path("events", events.Events.as_view(), name="events"),
    path("limits", limits.Limits.as_view(), name="limits"),
    path("stock", stock.Stock.as_view(), name="stock"),
    path("ssh_keys", ssh_keys.Keys.as_view(), name="ssh_keys"),
    path("ssh_keys/<id:pk>", ssh_keys.OneKey.as_view(), name="ssh_key"),
    path("servers", servers.Servers.as_view(), name="servers"),
    *_actions("servers", "server", actions.ServerActions),
    path("servers/<id:pk>/metrics", metrics.ServerMetrics.as_view(), name="server_metrics"),
    path("servers/<id:pk>", servers.OneServer.as_view(), name="server"),
    path(
        "servers/<id:pk>/actions/<slug:verb>",
        server_actions.ServerAction.as_view(),
        name="server_verb",
    ),
    path("accounts", accounts.Accounts.as_view(), name="accounts"),
    path("accounts/<id:pk>", accounts.OneAccount.as_view(), name="account"),
    path(
        "accounts/<id:pk>/actions/suspend",
        accounts.SuspendAccount.as_view(),
        name="account_suspend",
    ),
    path(
        "accounts/<id:pk>/actions/unsuspend",
        accounts.UnsuspendAccount.as_view(),
        name="account_unsuspend",
    ),
    path("projects", projects.Projects.as_view(), name="projects"),
    path("projects/<id:pk>", projects.OneProject.as_view(), name="project"),
    path("tokens", tokens.Tokens.as_view(), name="tokens"),
    path("tokens/<id:pk>", tokens.OneToken.as_view(), name="token"),
    path("webhooks", webhooks.Webhooks.as_view(), name="webhooks"),
    path("webhooks/<id:pk>", webhooks.OneWebhook.as_view(), name="webhook"),
    path("webhooks/<id:pk>/actions/test", webhooks.TestWebhook.as_view(), name="webhook_test"),
    path(
        "webhooks/<id:pk>/actions/rotate_secret",
        webhooks.RotateWebhookSecret.as_view(),
        name="webhook_secret",
    ),
    path("webhooks/<id:pk>/deliveries", webhooks.Deliveries.as_view(), name="webhook_deliveries"),
    path(
        "webhooks/<id:pk>/deliveries/<id:delivery_id>/actions/redeliver",
        webhooks.Redeliver.as_view(),
        name="webhook_redeliver",
    ),
    *(pattern for name in COLLECTIONS for pattern in _absent(name)),
]

urlpatterns: list[URLPattern | URLResolver] = [
    path("docs/", reference.page, name="reference"),
    path("v1/", include(v1)),
    re_path(r"^.*$", NotThere.as_view(), name="not_there"),
]
