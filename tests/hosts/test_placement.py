"""Placement is a pure choice: always among those that fit, and the best of them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from hosts.placement import Candidate, Need, pick, rank

sizes = st.integers(0, 64)
candidates = st.lists(
    st.builds(
        Candidate,
        host_id=st.integers(1, 50),
        pool_id=st.integers(1, 50),
        vcpus_free=sizes,
        memory_free_mib=sizes,
        memory_limit_mib=st.integers(0, 128),
        disk_free_gib=sizes,
        has_image=st.booleans(),
    ),
    max_size=12,
)
needs = st.builds(Need, vcpus=sizes, memory_mib=sizes, disk_gib=sizes)


@given(candidates, needs)
def test_only_those_that_fit_are_ranked(choice: list[Candidate], need: Need) -> None:
    ranked = rank(choice, need)
    assert all(candidate.fits(need) for candidate in ranked)
    assert len(ranked) == sum(candidate.fits(need) for candidate in choice)
    assert pick(choice, need) == (ranked[0] if ranked else None)


@given(candidates, needs)
def test_the_order_of_asking_does_not_matter(choice: list[Candidate], need: Need) -> None:
    there, back = pick(choice, need), pick(reversed(choice), need)
    assert (there is None) == (back is None)
    if there is not None and back is not None:
        assert there.score() == back.score()


def make(host_id: int, *, memory_free: int, has_image: bool = False) -> Candidate:
    return Candidate(host_id, host_id, 8, memory_free, 100, 10, has_image)


def test_the_emptier_host_is_better() -> None:
    best = pick([make(1, memory_free=40), make(2, memory_free=80)], Need(1, 10, 1))
    assert best is not None
    assert best.host_id == 2


def test_a_host_that_has_the_image_builds_at_once() -> None:
    full_but_ready = make(1, memory_free=20, has_image=True)
    best = pick([full_but_ready, make(2, memory_free=80)], Need(1, 10, 1))
    assert best == full_but_ready


def test_equal_hosts_are_taken_in_a_fixed_order() -> None:
    best = pick([make(2, memory_free=50), make(1, memory_free=50)], Need(1, 10, 1))
    assert best is not None
    assert best.host_id == 1
