"""The database orders hosts as the pure choice does; rows become the right candidates."""

from __future__ import annotations

import random
from uuid import uuid4

import pytest

from hosts.errors import NoCapacity
from hosts.models import CapacityClaim, Host, HostStatus, Image, Location, StagedImage, StoragePool
from hosts.placement import Need, how_many, rank
from hosts.room import AT_ONCE, best, candidates, everybody
from hosts.services import claim_capacity

pytestmark = [pytest.mark.django_db, pytest.mark.both_databases]


@pytest.fixture
def place() -> Location:
    return Location.objects.create(name="here")


def make_host(place: Location, name: str, **changes: object) -> StoragePool:
    pool = {key: changes.pop(key) for key in ("limit_gib", "used_gib") if key in changes}
    values = {"status": HostStatus.REACHABLE, "vcpus_limit": 8, "memory_limit_mib": 8192}
    host = Host.objects.create(
        name=name, location=place, uri=f"fake:///{name}", **{**values, **changes}
    )
    return StoragePool.objects.create(host=host, name="p", path="/p", **{"limit_gib": 100, **pool})


def random_fleet(place: Location, chance: random.Random, count: int) -> Image:
    image = Image.objects.create(name="tiny", description="Tiny", sha256="ab" * 32)
    for number in range(count):
        memory, disk = chance.choice((4096, 8192)), chance.choice((50, 100))
        pool = make_host(
            place,
            f"kvm{number}",
            accepting=chance.random() < 0.9,
            status=chance.choice((HostStatus.REACHABLE,) * 5 + (HostStatus.UNREACHABLE,)),
            vcpus_used=chance.randrange(9),
            memory_limit_mib=memory,
            memory_used_mib=chance.randrange(memory + 1),
            limit_gib=disk,
            used_gib=chance.randrange(disk + 1),
            tags=chance.choice(("", " nvme ", " nvme ssd ", " nvmeless ")),
            tagged_only=chance.random() < 0.2,
        )
        if chance.random() < 0.3:
            StagedImage.objects.create(pool=pool, sha256=image.sha256, volume="v")
    return image


@pytest.mark.parametrize("seed", range(4))
def test_the_database_orders_as_the_pure_choice_does(place: Location, seed: int) -> None:
    image = random_fleet(place, random.Random(seed), 60)
    for need in (
        Need(1, 128, 1),
        Need(2, 1024, 10),
        Need(1, 512, 5, frozenset({"nvme"})),
        Need(1, 512, 5, frozenset({"nvme", "ssd"})),
        Need(8, 8192, 100),
    ):
        for wanted in (None, image):
            by_database = best(place, need, image=wanted)
            by_rank = rank(candidates(place, wanted), need)[:AT_ONCE]
            assert [one.host_id for one in by_database] == [one.host_id for one in by_rank]
            assert rank(by_database, need) == by_database


@pytest.mark.parametrize("seed", range(4))
def test_orders_get_the_hosts_that_the_pure_choice_names(place: Location, seed: int) -> None:
    chance = random.Random(seed)
    image = random_fleet(place, chance, 12)
    for _ in range(40):
        tags = chance.choice((frozenset(), frozenset({"nvme"}), frozenset({"nvme", "ssd"})))
        need = Need(1, 512, 5, tags)
        wanted = chance.choice((None, image))
        ranked = rank(candidates(place, wanted), need)
        if not ranked:
            with pytest.raises(NoCapacity):
                claim_capacity(uuid4(), need, location=place, image=wanted)
            continue
        claim = claim_capacity(uuid4(), need, location=place, image=wanted)
        assert (claim.host_id, claim.pool_id) == (ranked[0].host_id, ranked[0].pool_id)
    assert CapacityClaim.objects.exists()


def test_a_claim_is_what_the_counters_went_up_by(place: Location) -> None:
    pool = make_host(place, "kvm1")
    need, owner = Need(2, 1024, 10), uuid4()
    claim = claim_capacity(owner, need, location=place)
    assert (claim.owner, claim.host, claim.pool, claim.spread) == (owner, pool.host, pool, None)
    assert Need(claim.vcpus, claim.memory_mib, claim.disk_gib) == need
    claim.refresh_from_db()  # what it answered is what was written
    assert (claim.owner, claim.vcpus, claim.memory_mib, claim.disk_gib) == (owner, 2, 1024, 10)
    pool = StoragePool.objects.select_related("host").get()
    assert (pool.host.vcpus_used, pool.host.memory_used_mib, pool.used_gib) == (2, 1024, 10)
    claim_capacity(uuid4(), Need(6, 1024, 90), location=place)
    with pytest.raises(NoCapacity):
        claim_capacity(uuid4(), Need(1, 1, 1), location=place)


def test_a_spread_takes_every_host_once(place: Location) -> None:
    for number in range(3):
        make_host(place, f"kvm{number}")
    spread, need = uuid4(), Need(1, 128, 1)
    claims = [claim_capacity(uuid4(), need, location=place, spread=spread) for _ in range(3)]
    assert len({claim.host_id for claim in claims}) == 3
    with pytest.raises(NoCapacity):
        claim_capacity(uuid4(), need, location=place, spread=spread)
    assert claim_capacity(uuid4(), need, location=place, spread=uuid4())
    assert CapacityClaim.objects.filter(spread=spread).count() == 3
    assert CapacityClaim.objects.count() == 4


def test_a_host_for_tagged_plans_takes_no_others(place: Location) -> None:
    make_host(place, "fast", tags=" nvme ", tagged_only=True)
    with pytest.raises(NoCapacity):
        claim_capacity(uuid4(), Need(1, 128, 1), location=place)
    with pytest.raises(NoCapacity):
        claim_capacity(uuid4(), Need(1, 128, 1, frozenset({"gpu"})), location=place)
    assert claim_capacity(uuid4(), Need(1, 128, 1, frozenset({"nvme"})), location=place)


def test_everybody_says_why_not(place: Location) -> None:
    make_host(place, "closed", accepting=False)
    make_host(place, "away", status=HostStatus.UNREACHABLE, status_reason="no answer")
    taken = make_host(place, "taken")
    spread = uuid4()
    CapacityClaim.objects.create(
        owner=uuid4(), host=taken.host, pool=taken, vcpus=1, memory_mib=1, disk_gib=1, spread=spread
    )
    said = {one.name.split(",")[0]: one.closed for one in everybody(place, spread=spread)}
    assert said == {
        "closed": ("The host takes no new servers.",),
        "away": ("The host is unreachable: no answer.",),
        "taken": ("A server of the same spread group is there.",),
    }


def test_how_many_fit_counts_what_pools_of_a_host_share_once(place: Location) -> None:
    first = make_host(place, "two-pools", vcpus_limit=5, limit_gib=30)
    StoragePool.objects.create(host=first.host, name="q", path="/q", limit_gib=30)
    make_host(place, "memory", memory_limit_mib=2048, vcpus_limit=100)
    make_host(place, "full", vcpus_used=8)
    assert how_many(candidates(place), Need(1, 1024, 10)) == 5 + 2
    assert how_many(candidates(place), Need(1, 128, 25)) == 2 + 4
    assert how_many(candidates(place), Need(9, 128, 1)) == 11
    assert how_many(candidates(place), Need(101, 128, 1)) == 0
