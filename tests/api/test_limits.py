"""What a project may have and has."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from hosts.models import Image, ImageType
from tests.api.asking import Api
from tests.world import World
from vpspanel.accounts.models import Account, SSHKey
from vpspanel.accounts.token_services import create_token
from vpspanel.servers.images import image_owner


def test_they_are_those_that_an_order_meets(world: World, api: Api, stranger: Api) -> None:
    Account.objects.filter(pk=world.project.account_id).update(server_limit=1)
    world.order("web")
    SSHKey.objects.create(project=world.project, name="key", public_key="k", fingerprint="f")
    Image.objects.create(type=ImageType.SNAPSHOT, owner=image_owner(world.project.pk))
    with CaptureQueriesContext(connection) as queries:
        shown = {one.pop("name"): one for one in api.get("/limits")["limits"]}
    assert len(queries) <= 8
    assert shown == {
        "servers": {"shared_by": "account", "limit": 1, "used": 1},
        "primary_ips": {"shared_by": "account", "limit": 10, "used": 0},
        "snapshots": {"shared_by": "project", "limit": 20, "used": 1},
        "ssh_keys": {"shared_by": "project", "limit": 100, "used": 1},
        "api_tokens": {"shared_by": "project", "limit": 50, "used": 1},
    }
    order = {"name": "more", "server_type": "nano", "image": "tiny"}
    assert api.refused("POST", "/servers", order) == (403, "resource_limit_exceeded")
    theirs: Any = {one["name"]: one["used"] for one in stranger.get("/limits")["limits"]}
    none = {"servers": 0, "primary_ips": 0, "snapshots": 0, "ssh_keys": 0}
    assert theirs == {**none, "api_tokens": 1}


def test_a_token_for_some_servers_learns_no_numbers_of_others(world: World) -> None:
    made = create_token(
        world.alice, project=world.project, name="one", may_write=True, server_ids=[1]
    )
    assert Api(made.secret).refused("GET", "/limits") == (403, "forbidden")
