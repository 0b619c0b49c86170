"""The pages of placement groups."""

from __future__ import annotations

from django.test import Client
from django.urls import reverse

from tests.world import World
from vpspanel.servers.models import PlacementGroup, Server

LIST = reverse("groups:list")


def test_a_group_is_made_filled_emptied_and_deleted(world: World, alice: Client) -> None:
    assert b"No groups yet" in alice.get(LIST).content
    one, two = world.running("one"), world.running("two")
    alice.post(reverse("groups:add"), {"name": "web"})
    group = PlacementGroup.objects.get()
    join = reverse("groups:join", args=[group.pk])
    assert f'value="{one.pk}"' in alice.get(join).content.decode()
    alice.post(join, {"server": one.pk})
    assert Server.objects.get(pk=one.pk).placement_group == group
    refused = alice.post(join, {"server": two.pk})
    assert refused.status_code == 422
    assert "is on the same host" in refused.content.decode()
    page = alice.get(LIST).content.decode()
    assert "Take out" in page
    delete = reverse("groups:delete", args=[group.pk])
    told = alice.post(delete, follow=True).content.decode()
    assert "Take them out first" in told
    alice.post(reverse("groups:rename", args=[group.pk]), {"name": "apart"})
    assert PlacementGroup.objects.get().name == "apart"
    alice.post(reverse("groups:leave", args=[one.pk]))
    assert Server.objects.get(pk=one.pk).placement_group is None
    alice.post(delete)
    assert not PlacementGroup.objects.exists()


def test_what_is_wrong_is_told_beside_the_field(world: World, alice: Client) -> None:
    response = alice.post(reverse("groups:add"), {"name": "a b"})
    assert response.status_code == 422
    assert "letters, digits" in response.content.decode()
    assert not PlacementGroup.objects.exists()
