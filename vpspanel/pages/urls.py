"""The customers' addresses."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from vpspanel.pages import (
    addresses,
    announcements,
    changes,
    graphs,
    groups,
    isos,
    keys,
    order,
    power,
    projects,
    rescue,
    servers,
    snapshots,
    tokens,
    webhooks,
)

server_urls: list[URLPattern] = [
    path("", servers.list_page, name="list"),
    path("fragment/", servers.list_fragment, name="list_fragment"),
    path("order/", order.order, name="order"),
    path("<int:server_id>/", servers.show, name="show"),
    path("<int:server_id>/fragment/", servers.fragment, name="fragment"),
    path("<int:server_id>/graphs/", graphs.show, name="graphs"),
    path("<int:server_id>/figures/", graphs.figures, name="figures"),
    path("<int:server_id>/password/", servers.reveal_password, name="reveal_password"),
    path("<int:server_id>/power_on/", power.power_on, name="power_on"),
    path("<int:server_id>/shutdown/", power.shutdown, name="shutdown"),
    path("<int:server_id>/reboot/", power.reboot, name="reboot"),
    path("<int:server_id>/power_off/", power.power_off, name="power_off"),
    path("<int:server_id>/cancel/", power.cancel, name="cancel"),
    path("<int:server_id>/reset/", power.reset, name="reset"),
    path("<int:server_id>/reset_password/", power.reset_password, name="reset_password"),
    path("<int:server_id>/rename/", changes.rename, name="rename"),
    path("<int:server_id>/change_protection/", changes.change_protection, name="change_protection"),
    path("<int:server_id>/rebuild/", changes.rebuild, name="rebuild"),
    path("<int:server_id>/create_image/", snapshots.create_image, name="create_image"),
    path("<int:server_id>/enable_rescue/", rescue.enable, name="enable_rescue"),
    path("<int:server_id>/disable_rescue/", rescue.disable, name="disable_rescue"),
    path("<int:server_id>/rescue_password/", rescue.reveal_password, name="reveal_rescue_password"),
    path("<int:server_id>/attach_iso/", isos.attach, name="attach_iso"),
    path("<int:server_id>/detach_iso/", isos.detach, name="detach_iso"),
    path("<int:server_id>/change_type/", changes.change_type, name="change_type"),
    path("<int:server_id>/delete/", changes.delete, name="delete"),
]
key_urls: list[URLPattern] = [
    path("", keys.list_keys, name="list"),
    path("add/", keys.add_key, name="add"),
    path("<int:key_id>/delete/", keys.delete_key, name="delete"),
]
token_urls: list[URLPattern] = [
    path("", tokens.list_tokens, name="list"),
    path("add/", tokens.add_token, name="add"),
    path("<int:token_id>/change/", tokens.change, name="change"),
    path("<int:token_id>/revoke/", tokens.revoke, name="revoke"),
]
webhook_urls: list[URLPattern] = [
    path("", webhooks.list_webhooks, name="list"),
    path("add/", webhooks.add, name="add"),
    path("<int:webhook_id>/", webhooks.show, name="show"),
    path("<int:webhook_id>/change/", webhooks.change, name="change"),
    path("<int:webhook_id>/switch/", webhooks.switch, name="switch"),
    path("<int:webhook_id>/test/", webhooks.test, name="test"),
    path("<int:webhook_id>/rotate/", webhooks.rotate, name="rotate"),
    path("<int:webhook_id>/delete/", webhooks.delete, name="delete"),
    path(
        "<int:webhook_id>/deliveries/<int:delivery_id>/redeliver/",
        webhooks.redeliver,
        name="redeliver",
    ),
]
group_urls: list[URLPattern] = [
    path("", groups.list_groups, name="list"),
    path("add/", groups.add, name="add"),
    path("<int:group_id>/rename/", groups.rename, name="rename"),
    path("<int:group_id>/join/", groups.join, name="join"),
    path("<int:group_id>/delete/", groups.delete, name="delete"),
    path("servers/<int:server_id>/leave/", groups.leave, name="leave"),
]
address_urls: list[URLPattern] = [
    path("", addresses.list_addresses, name="list"),
    path("add/", addresses.add, name="add"),
    path("<int:ip_id>/change/", addresses.change, name="change"),
    path("<int:ip_id>/change_protection/", addresses.change_protection, name="change_protection"),
    path("<int:ip_id>/assign/", addresses.assign, name="assign"),
    path("<int:ip_id>/unassign/", addresses.unassign, name="unassign"),
    path("<int:ip_id>/delete/", addresses.delete, name="delete"),
]
snapshot_urls: list[URLPattern] = [
    path("", snapshots.list_images, name="list"),
    path(
        "<int:image_id>/change_protection/", snapshots.change_protection, name="change_protection"
    ),
    path("<int:image_id>/delete/", snapshots.delete, name="delete"),
]
announcement_urls: list[URLPattern] = [
    path("<int:announcement_id>/dismiss/", announcements.dismiss, name="dismiss")
]
project_urls: list[URLPattern] = [path("choose/", projects.choose, name="choose")]

urlpatterns: list[URLPattern | URLResolver] = [
    path("", servers.home, name="home"),
    path("servers/", include((server_urls, "servers"))),
    path("keys/", include((key_urls, "keys"))),
    path("tokens/", include((token_urls, "tokens"))),
    path("addresses/", include((address_urls, "addresses"))),
    path("groups/", include((group_urls, "groups"))),
    path("webhooks/", include((webhook_urls, "webhooks"))),
    path("snapshots/", include((snapshot_urls, "snapshots"))),
    path("announcements/", include((announcement_urls, "announcements"))),
    path("projects/", include((project_urls, "projects"))),
]
