"""An idempotency key answers with what it bought, whatever has changed since."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from hosts.models import Host, Image, ImageStatus
from tests.world import World
from vpspanel.errors import Refused
from vpspanel.servers.models import Server, ServerType
from vpspanel.servers.models_order import OrderKey

pytestmark = pytest.mark.both_databases


def test_the_same_order_again_is_answered_although_the_offer_is_gone(world: World) -> None:
    first = world.order(idempotency_key="one")
    Image.objects.update(status=ImageStatus.UNAVAILABLE)
    ServerType.objects.update(deprecated=timezone.now())
    world.images[0].refresh_from_db()
    world.plan.refresh_from_db()
    again = world.order(idempotency_key="one")
    assert (again.server.pk, again.action.pk) == (first.server.pk, first.action.pk)
    assert first.root_password
    assert again.root_password is None
    assert Server.objects.count() == 1


@pytest.mark.parametrize("change", [{"labels": {"a": "b"}}, {"name": "other"}, {"protect": True}])
def test_another_order_with_the_key_is_refused(world: World, change: dict[str, Any]) -> None:
    world.order(idempotency_key="one")
    with pytest.raises(Refused) as refused:
        world.order(idempotency_key="one", **change)
    assert refused.value.code == "idempotency_key_reused"


def test_an_order_that_was_refused_leaves_its_key_free(world: World) -> None:
    Host.objects.update(accepting=False)
    with pytest.raises(Refused):
        world.order(idempotency_key="one")
    assert not OrderKey.objects.exists()
    Host.objects.update(accepting=True)
    assert world.order(idempotency_key="one").root_password


def test_keys_that_differ_only_far_behind_are_not_taken_for_one(world: World) -> None:
    with pytest.raises(Refused) as refused:
        world.order(idempotency_key="k" * 256)
    assert refused.value.code == "invalid_input"
    assert world.order(idempotency_key="k" * 255).root_password


def test_a_key_belongs_to_its_project(world: World) -> None:
    world.order(idempotency_key="one")
    other = world.charlie.user.memberships.get().project  # type: ignore[union-attr]
    ordered = world.order(actor=world.charlie, project=other, idempotency_key="one")
    assert ordered.server.project == other
