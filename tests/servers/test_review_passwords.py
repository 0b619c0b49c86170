"""A root password that nobody has seen yet is lost only when another one is in use."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from threading import Barrier, Thread

import pytest
from django.db import connection
from django.test import Client
from django.urls import reverse

from hosts.virt.errors import InvalidState
from tests.accounts.test_keys import ED25519
from tests.servers.test_review_seeds import play, seed
from tests.world import World, due_now, work
from vpspanel.accounts.models import SSHKey, User
from vpspanel.actions.claims import claim_next
from vpspanel.actions.models import Action
from vpspanel.events.actor import Actor
from vpspanel.sealing import unseal
from vpspanel.servers import services
from vpspanel.servers.models import Server, ServerTypePrice

pytestmark = pytest.mark.both_databases


def reset(actor: Actor, server: Server, world: World) -> Action:
    return services.reset_password(actor, server.pk)


def rebuild(actor: Actor, server: Server, world: World) -> Action:
    return services.rebuild(actor, server.pk, image=world.images[1])


Verb = Callable[[Actor, Server, World], Action]
both = pytest.mark.parametrize("verb", [reset, rebuild])


def password_of(server: Server) -> str:
    return unseal(bytes(Server.objects.get(pk=server.pk).root_password_sealed))


@both
def test_it_outlives_what_was_cancelled(world: World, verb: Verb) -> None:
    server = world.running(ssh_keys=())
    before = password_of(server)
    services.cancel_action(world.alice, verb(world.alice, server, world).pk)
    assert services.reveal_root_password(world.alice, server.pk) == before
    assert not Server.objects.get(pk=server.pk).next_password_sealed


@both
def test_it_outlives_what_failed_and_its_first_boot_still_sets_it(world: World, verb: Verb) -> None:
    server = world.running(ssh_keys=())
    before, hashed = password_of(server), server.root_password_hash.encode()
    assert hashed in seed(world, server)
    call = "set_password" if verb is reset else "create_overlay"
    world.driver().inject(call, InvalidState("not now"), times=None)
    action = verb(world.alice, server, world)
    play()
    world.driver().clear_faults()
    action.refresh_from_db()
    assert action.state == "error"
    assert services.reveal_root_password(world.alice, server.pk) == before
    assert hashed in seed(world, server)


@both
def test_the_new_one_takes_its_place(world: World, verb: Verb) -> None:
    server = world.running(ssh_keys=())
    before = password_of(server)
    verb(world.alice, server, world)
    work()
    after = services.reveal_root_password(world.alice, server.pk)
    assert after not in (None, before)
    server.refresh_from_db()
    assert not server.next_password_sealed
    assert not server.next_password_hash
    assert server.root_password_hash.encode() in seed(world, server)


def test_housekeeping_keeps_to_the_limit_of_its_host(world: World) -> None:
    first, *others = [world.running(name) for name in ("a", "b", "c")]
    world.host.action_limit = 1
    world.host.save(update_fields=["action_limit"])
    services.scrub_seed(Server.objects.get(pk=first.pk))
    for server in others:
        services.power_off(world.alice, server.pk)
    due_now()
    assert [claim_next("w") is None for _ in range(3)] == [False, True, True]


def test_one_order_sent_twice_at_once_with_a_pasted_key(world: World) -> None:
    """Both answers lead to the same server, and the key is kept once."""
    form = {
        "token": str(uuid.uuid4()),
        "plan": ServerTypePrice.objects.get().pk,
        "image": world.images[0].pk,
        "name": "twice",
        "new_key": ED25519,
    }
    answers: list[tuple[int, str]] = []
    together = Barrier(2)

    def send() -> None:
        client = Client()
        client.force_login(User.objects.get(email="alice@example.com"))
        together.wait(30)
        try:
            answer = client.post(reverse("servers:order"), form)
            answers.append((answer.status_code, answer.get("Location", "")))
        finally:
            connection.close()

    threads = [Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    server = Server.objects.get()
    assert answers == [(302, reverse("servers:show", args=[server.pk]))] * 2
    assert SSHKey.objects.count() == 1
