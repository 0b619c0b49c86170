"""Addresses that a project has without a server, gives to one, takes from it and gives back."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import yaml
from django.utils import timezone

from hosts.models import Family, Host, HostStatus, IPAddress, IPPool, Location
from hosts.virt.errors import AlreadyExists
from tests.audit import clean_audit
from tests.servers.test_races import all_at_once
from tests.world import World, work
from vpspanel.accounts.models import Account
from vpspanel.actions.models import Action, ActionState
from vpspanel.actions.services import cancel, give_up
from vpspanel.errors import NotFound, Refused
from vpspanel.events.models import Event
from vpspanel.servers import addresses, services
from vpspanel.servers.limits import limits_of
from vpspanel.servers.models import Lifecycle, PrimaryIP, Server
from vpspanel.servers.public_net import PublicNet

__all__ = ["clean_audit"]

pytestmark = [pytest.mark.both_databases, pytest.mark.usefixtures("clean_audit")]

NO_IPV4 = PublicNet(ipv4=False)


def bought(
    world: World, name: str = "keep", family: Family = Family.V4, **more: object
) -> PrimaryIP:
    """Alice buys one without a server."""
    more.setdefault("location", world.location)
    made = addresses.buy_primary_ip(
        world.alice,
        project=world.project,
        name=name,
        family=family,
        **more,  # type: ignore[arg-type]
    )
    return made.ip


def given(world: World, ip: PrimaryIP, server: Server) -> Action:
    """It is given to the server, and a worker does it."""
    action = addresses.assign_primary_ip(world.alice, ip.pk, server.pk)
    return worked_on(action)


def taken(world: World, ip: PrimaryIP) -> Action:
    return worked_on(addresses.unassign_primary_ip(world.alice, ip.pk))


def worked_on(action: Action) -> Action:
    work()
    action.refresh_from_db()
    return action


def of(server: Server) -> list[str]:
    """The addresses that the records say it has."""
    held = set(IPAddress.objects.filter(owner=server.uuid).values_list("address", flat=True))
    listed = PrimaryIP.objects.filter(server=server).values_list("address__address", flat=True)
    assert set(listed) == held
    return sorted(held)


def seed_of(world: World, server: Server) -> bytes:
    record = world.driver().volume_record(server.pool, server.seed_volume)
    assert record is not None
    return record.head


def filtered(world: World, server: Server) -> list[str]:
    """The addresses that its filter on the host lets through."""
    spec = world.driver().filter_record(server.filter_name)
    assert spec is not None
    return sorted([*spec.ipv4, *spec.ipv6])


def refused(act: Callable[[], object]) -> str:
    """The code of the refusal."""
    with pytest.raises(Refused) as refusal:
        act()
    return refusal.value.code


def test_an_address_without_a_server_is_nobody_elses(world: World) -> None:
    ip = bought(world)
    row = IPAddress.objects.get(pk=ip.address_id)
    assert (ip.server_id, ip.auto_delete, row.owner) == (None, False, ip.uuid)
    assert ip.address.address not in of(world.running())
    assert Event.objects.filter(kind="primary_ip.created", resource_id=ip.pk).exists()


def test_a_server_that_is_off_gets_it_and_its_host_knows(world: World) -> None:
    server = world.stopped(public_net=NO_IPV4)
    network = of(server)
    ip = bought(world)
    action = given(world, ip, server)
    assert action.state == ActionState.SUCCESS
    assert of(server) == filtered(world, server) == sorted([ip.address.address, *network])
    assert f"{ip.address.address}/24".encode() in seed_of(world, server)
    taken(world, ip)
    assert of(server) == filtered(world, server) == network
    assert ip.address.address.encode() not in seed_of(world, server)
    ip.refresh_from_db()
    assert (ip.server_id, ip.leaving) == (None, "")
    kinds = Event.objects.filter(resource_type="server", resource_id=server.pk)
    assert {"server.assign_primary_ip", "unassign_primary_ip.success"} <= set(
        kinds.values_list("kind", flat=True)
    )


def test_a_bought_address_may_go_to_a_server_at_once(world: World) -> None:
    server = world.stopped(public_net=NO_IPV4)
    made = addresses.buy_primary_ip(
        world.alice, project=world.project, name="new", family=Family.V4, server_id=server.pk
    )
    assert made.action is not None
    assert made.action.args == {"primary_ip": made.ip.pk}
    assert worked_on(made.action).state == ActionState.SUCCESS
    assert made.ip.address.address in filtered(world, server)


def test_what_cannot_be_given(world: World) -> None:
    ip, other = bought(world), bought(world, "other")
    running, off = world.running("on"), world.stopped("off", public_net=NO_IPV4)
    full = world.stopped("full")
    give = addresses.assign_primary_ip
    assert refused(lambda: give(world.alice, ip.pk, running.pk)) == "server_not_stopped"
    assert refused(lambda: give(world.alice, ip.pk, full.pk)) == "server_has_ipv4"
    assert refused(lambda: give(world.olga, ip.pk, off.pk)) == "forbidden"
    assert refused(lambda: give(world.charlie, ip.pk, off.pk)) == "not_found"
    six = bought(world, "six", Family.V6)
    assert refused(lambda: give(world.alice, six.pk, off.pk)) == "server_has_ipv6"
    given(world, ip, off)
    assert refused(lambda: give(world.alice, ip.pk, full.pk)) == "primary_ip_already_assigned"
    assert refused(lambda: give(world.alice, other.pk, off.pk)) == "server_has_ipv4"
    taken(world, ip)
    assert refused(lambda: addresses.unassign_primary_ip(world.alice, ip.pk)) == "conflict"
    assert PrimaryIP.objects.filter(server=None).count() == 3


def test_an_address_stays_in_its_location(world: World) -> None:
    elsewhere = Location.objects.create(name="test2", city="Elsewhere")
    IPPool.objects.create(
        location=elsewhere,
        name="v4-two",
        family=Family.V4,
        network="10.81.0.0/24",
        gateway="10.81.0.1",
        last_index=9,
        next_index=2,
    )
    ip = bought(world, location=elsewhere)
    server = world.stopped(public_net=NO_IPV4)
    give = addresses.assign_primary_ip
    assert refused(lambda: give(world.alice, ip.pk, server.pk)) == "invalid_input"
    net = PublicNet(ipv4=get(ip))
    assert refused(lambda: world.order("x", public_net=net)) == "primary_ip_datacenter_mismatch"


def get(ip: PrimaryIP) -> PrimaryIP:
    return PrimaryIP.objects.select_related("address__pool__location").get(pk=ip.pk)


def test_a_server_may_have_one_family_only(world: World) -> None:
    six = world.running("six", public_net=NO_IPV4)
    four = world.running("four", public_net=PublicNet(ipv6=False))
    assert [":" in address for address in [*of(six), *of(four)]] == [True, False]
    assert filtered(world, six) == of(six)
    both = PublicNet(ipv4=False, ipv6=False)
    assert refused(lambda: world.order("none", public_net=both)) == "invalid_input"


def test_a_new_server_gets_the_addresses_that_are_chosen(world: World) -> None:
    four, six = bought(world, "four"), bought(world, "six", Family.V6)
    wrong = PublicNet(ipv4=get(six))
    assert refused(lambda: world.order(public_net=wrong)) == "primary_ip_version_mismatch"
    net = PublicNet(ipv4=get(four), ipv6=get(six))
    server = world.running("web", public_net=net)
    assert of(server) == sorted([four.address.address, six.address.address])
    again = PublicNet(ipv4=get(four))
    assert refused(lambda: world.order("two", public_net=again)) == "primary_ip_assigned"


def test_a_chosen_address_outlives_a_server_that_could_not_be_built(world: World) -> None:
    ip = bought(world, auto_delete=True)
    world.driver().inject("create_overlay", AlreadyExists("taken"))
    ordered = world.order(public_net=PublicNet(ipv4=get(ip)))
    work()
    assert Server.objects.get(pk=ordered.server.pk).lifecycle == Lifecycle.DELETED
    held = IPAddress.objects.exclude(owner=None)
    assert list(held.values_list("address", "owner")) == [(ip.address.address, ip.uuid)]


def test_what_goes_with_its_server_and_what_stays(world: World) -> None:
    server = world.running()
    four, six = PrimaryIP.objects.filter(server=server).order_by("address__family")
    addresses.change_primary_ip(world.alice, four.pk, auto_delete=False)
    services.delete(world.alice, server.pk)
    work()
    four.refresh_from_db()
    assert four.server_id is None
    assert IPAddress.objects.get(pk=four.address_id).owner == four.uuid
    assert not PrimaryIP.objects.filter(pk=six.pk).exists()
    freed = IPAddress.objects.get(pk=six.address_id)
    assert freed.owner is None
    assert freed.free_after is not None
    assert freed.free_after > timezone.now()


def test_what_is_protected_stays(world: World) -> None:
    server = world.running()
    ip = PrimaryIP.objects.get(server=server, address__family=Family.V4)
    addresses.protect_primary_ip(world.alice, ip.pk, delete=True)
    services.delete(world.alice, server.pk)
    work()
    assert refused(lambda: addresses.delete_primary_ip(world.alice, ip.pk)) == "protected"
    addresses.protect_primary_ip(world.alice, ip.pk, delete=False)
    addresses.delete_primary_ip(world.alice, ip.pk)
    assert not PrimaryIP.objects.exists()
    assert not IPAddress.objects.exclude(owner=None).exists()


def test_deleting_one_that_a_server_has_waits_for_its_host(world: World) -> None:
    server = world.stopped()
    ip = PrimaryIP.objects.get(server=server, address__family=Family.V4)
    addresses.delete_primary_ip(world.alice, ip.pk)
    with pytest.raises(NotFound):
        addresses.get_primary_ip(world.alice, ip.pk)
    assert IPAddress.objects.get(pk=ip.address_id).owner == server.uuid
    work()
    assert not PrimaryIP.objects.filter(pk=ip.pk).exists()
    assert IPAddress.objects.get(pk=ip.address_id).owner is None
    assert ip.address.address not in filtered(world, server)


def test_one_that_was_started_meanwhile_keeps_its_address(world: World) -> None:
    server = world.stopped()
    ip = PrimaryIP.objects.get(server=server, address__family=Family.V4)
    world.driver().start(server.uuid)
    action = taken(world, ip)
    assert (action.state, action.error_code) == (ActionState.ERROR, "server_not_stopped")
    assert ip.address.address in of(server)
    assert ip.address.address in filtered(world, server)
    addresses.get_primary_ip(world.alice, ip.pk)


def test_what_did_not_come_to_pass_leaves_the_address_where_it_was(world: World) -> None:
    server = world.stopped(public_net=NO_IPV4)
    ip = bought(world)
    cancel(addresses.assign_primary_ip(world.alice, ip.pk, server.pk), actor=world.alice)
    assert get(ip).server_id is None
    before = seed_of(world, server)
    world.driver().inject("write_volume", AlreadyExists("taken"))
    action = given(world, ip, server)
    assert (action.state, action.error_code) == (ActionState.ERROR, AlreadyExists.code)
    assert get(ip).server_id is None
    assert ip.address.address not in filtered(world, server)
    assert network_in(seed_of(world, server)) == network_in(before)


def network_in(seed: bytes) -> object:
    start = seed.index(b"version: 2\nethernets:")
    return yaml.safe_load(seed[start : seed.index(b"\0", start)])


def test_a_silent_host_is_waited_for_and_may_be_given_up(world: World) -> None:
    server = world.stopped()
    ip = PrimaryIP.objects.get(server=server, address__family=Family.V4)
    Host.objects.update(status=HostStatus.UNREACHABLE)
    action = addresses.unassign_primary_ip(world.alice, ip.pk)
    Action.objects.filter(pk=action.pk).update(state=ActionState.PARKED)
    action.refresh_from_db()
    give_up(action, actor=world.alice)
    assert worked_on(action).state == ActionState.ERROR
    assert (get(ip).server_id, get(ip).leaving) == (server.pk, "")


def test_a_password_that_waits_for_the_next_boot_is_not_lost(world: World) -> None:
    server = world.stopped(public_net=NO_IPV4)
    services.reset_password(world.alice, server.pk)
    work()
    server.refresh_from_db()
    waiting = server.root_password_hash.encode()
    assert b"chpasswd -e" in seed_of(world, server)
    given(world, bought(world), server)
    assert b"chpasswd -e" in seed_of(world, server)
    assert waiting in seed_of(world, server)


def test_a_seed_without_secrets_stays_without(world: World) -> None:
    server = world.stopped(public_net=NO_IPV4, user_data="#cloud-config\nruncmd: [secret]\n")
    Server.objects.filter(pk=server.pk).update(seed_secret_since=None, root_password_hash="")
    given(world, bought(world), server)
    seed = seed_of(world, server)
    assert b"secret" not in seed
    assert b"chpasswd" not in seed


def test_names_are_unique_and_what_changes_is_told(world: World) -> None:
    ip, other = bought(world), bought(world, "other")
    change = addresses.change_primary_ip
    assert refused(lambda: bought(world)) == "uniqueness_error"
    assert refused(lambda: change(world.alice, other.pk, name="keep")) == "uniqueness_error"
    assert refused(lambda: change(world.alice, ip.pk, name="no good")) == "invalid_input"
    assert refused(lambda: change(world.olga, ip.pk, name="good")) == "forbidden"
    changed = change(world.alice, ip.pk, name="good", labels={"a": "b"}, auto_delete=True)
    assert (changed.name, changed.labels, changed.auto_delete) == ("good", {"a": "b"}, True)
    assert Event.objects.filter(kind="primary_ip.changed", resource_id=ip.pk).count() == 1
    assert IPAddress.objects.exclude(owner=None).count() == 2


def test_an_account_keeps_no_more_than_it_may(world: World) -> None:
    Account.objects.update(address_limit=2)
    server, off = world.running(), world.stopped("off")
    mine = PrimaryIP.objects.filter(server=server).order_by("pk")[0]
    theirs = PrimaryIP.objects.filter(server=off).order_by("pk")[0]
    ips = [bought(world, "one"), bought(world, "two")]
    limit = next(
        one for one in limits_of(world.alice, world.project.pk) if one.name == "primary_ips"
    )
    assert (limit.limit, limit.used) == (2, 2)
    for act in (
        lambda: bought(world, "three"),
        lambda: addresses.change_primary_ip(world.alice, mine.pk, auto_delete=False),
        lambda: addresses.protect_primary_ip(world.alice, mine.pk, delete=True),
        lambda: addresses.unassign_primary_ip(world.alice, theirs.pk),
    ):
        assert refused(act) == "resource_limit_exceeded"
    addresses.protect_primary_ip(world.alice, ips[0].pk, delete=True)
    assert not Action.objects.filter(command="unassign_primary_ip").exists()
    addresses.delete_primary_ip(world.alice, theirs.pk)
    work()
    assert not PrimaryIP.objects.filter(pk=theirs.pk).exists()


def test_a_suspended_account_buys_nothing(world: World) -> None:
    Account.objects.update(suspended_at=timezone.now())
    assert refused(lambda: bought(world)) == "forbidden"


def test_no_address_left(world: World) -> None:
    IPPool.objects.filter(family=Family.V4).update(accepting=False)
    assert refused(lambda: bought(world)) == "resource_unavailable"
    world.running("six", public_net=NO_IPV4)


def test_one_address_goes_to_one_server(world: World) -> None:
    servers = [world.stopped(f"s{number}", public_net=NO_IPV4) for number in range(5)]
    ip = bought(world)
    outcomes = all_at_once(
        lambda number: addresses.assign_primary_ip(world.alice, ip.pk, servers[number].pk), 5
    )
    assert outcomes.pop("sold") == 1
    assert set(outcomes) <= {"conflict", "primary_ip_already_assigned"}
    work()
    assert sum(ip.address.address in filtered(world, server) for server in servers) == 1


def test_an_address_is_either_given_away_or_deleted(world: World) -> None:
    for turn in range(5):
        server = world.stopped(f"s{turn}", public_net=NO_IPV4)
        ip = bought(world)
        acts: list[Callable[[], object]] = [
            partial(addresses.assign_primary_ip, world.alice, ip.pk, server.pk),
            partial(addresses.delete_primary_ip, world.alice, ip.pk),
        ]
        outcomes = all_at_once(partial(_do, acts), 2)
        work()
        assert outcomes["sold"] >= 1
        # Locked: it came after the other had been accepted, and before it was carried out.
        assert set(outcomes) <= {"sold", "conflict", "not_found", "locked"}
        owner = IPAddress.objects.get(pk=ip.address_id).owner
        there = PrimaryIP.objects.filter(pk=ip.pk).first()
        assert owner == (server.uuid if there else None)
        PrimaryIP.objects.filter(pk=ip.pk).update(name=f"kept-{turn}")


def _do(acts: list[Callable[[], object]], number: int) -> object:
    return acts[number]()


def test_the_account_s_limit_holds_against_a_crowd(world: World) -> None:
    Account.objects.update(address_limit=3)
    outcomes = all_at_once(lambda number: bought(world, f"ip{number}"), 8)
    assert outcomes == {"sold": 3, "resource_limit_exceeded": 5}
