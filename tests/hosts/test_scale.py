"""A fleet that sells out under many orders at once: every slot is sold, none twice."""

from __future__ import annotations

import threading
from collections import Counter
from uuid import uuid4

import pytest
from django.db import connection, transaction

from hosts.errors import NoCapacity
from hosts.models import CapacityClaim, Location
from hosts.services import claim_capacity, release_capacity
from tests.bench.placement import NEED, make_fleet, oversold

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.both_databases]

HOSTS, SOLD, SLOTS_OF_HOST, BUYERS = 50, 500, 14, 16
LEFT = HOSTS * SLOTS_OF_HOST - SOLD


@pytest.fixture
def place() -> Location:
    return make_fleet(HOSTS, SOLD, limit_mib=SLOTS_OF_HOST * NEED.memory_mib)


def buy_until_sold_out(place: Location, outcomes: Counter[str]) -> None:
    """Orders, and now and then a cancelled one, until there is no room."""
    mine: Counter[str] = Counter()
    try:
        while True:
            owner = uuid4()
            with transaction.atomic():
                claim_capacity(owner, NEED, location=place)
            mine["sold"] += 1
            if mine["sold"] % 5 == 0:
                mine["given back"] += release_capacity(owner)
    except NoCapacity:
        pass
    except Exception as error:
        mine[repr(error)] += 1
    finally:
        connection.close()
    outcomes.update(mine)


def test_everything_is_sold_and_nothing_twice(place: Location) -> None:
    outcomes: Counter[str] = Counter()
    threads = [
        threading.Thread(target=buy_until_sold_out, args=(place, outcomes)) for _ in range(BUYERS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(outcomes) == {"sold", "given back"}, outcomes
    assert oversold() == 0
    # What somebody gives back after the others have gone home stays free.
    left = LEFT - (outcomes["sold"] - outcomes["given back"])
    assert 0 <= left <= BUYERS
    with transaction.atomic():
        for _ in range(left):
            claim_capacity(uuid4(), NEED, location=place)
        with pytest.raises(NoCapacity):
            claim_capacity(uuid4(), NEED, location=place)
    assert CapacityClaim.objects.count() == HOSTS * SLOTS_OF_HOST
