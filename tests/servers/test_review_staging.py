"""Who was stopped while copying an image does not spoil the copy of who took over."""

from __future__ import annotations

import time
from datetime import timedelta

import pytest
from django.utils import timezone

from hosts import turns
from hosts.errors import StagingBusy
from hosts.models import StagedImage, StagingTurn
from hosts.staging import stage
from tests.hosts.test_staging import big_image, pool_of, volumes
from tests.world import World

pytestmark = pytest.mark.both_databases


@pytest.fixture(autouse=True)
def short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_SECONDS", 0.5)


@pytest.mark.parametrize("seconds", [0.15, 0.6], ids=["for a moment", "for longer than a turn"])
def test_a_turn_that_was_lost_ends_the_copy(world: World, seconds: float) -> None:
    image, pool, said = big_image(), pool_of(world), []

    def be_stopped(sent: int) -> None:
        said.append(sent)
        StagingTurn.objects.update(until=timezone.now() + timedelta(seconds=50))
        time.sleep(seconds)

    with pytest.raises(StagingBusy):
        stage(world.driver(), pool, image, progress=be_stopped)
    assert len(said) == 1, "nothing more was sent"
    assert StagingTurn.objects.count() == 1, "the turn is another's now"
    assert volumes(world) == []
    assert not StagedImage.objects.exists()


def test_nothing_is_sent_after_a_turn_that_was_not_renewed(world: World) -> None:
    """Nobody has taken over yet, but somebody may at any moment."""
    image, pool, said = big_image(), pool_of(world), []

    def be_stopped(sent: int) -> None:
        said.append(sent)
        time.sleep(0.6)

    with pytest.raises(StagingBusy):
        stage(world.driver(), pool, image, progress=be_stopped)
    assert len(said) == 1
    assert not StagingTurn.objects.exists()
    stage(world.driver(), pool, image)
    assert volumes(world) == [image.volume]


def test_a_turn_from_before_the_clock_was_set_back_is_nobodys(world: World) -> None:
    image, pool = big_image(), pool_of(world)
    tomorrow = timezone.now() + timedelta(days=1)
    StagingTurn.objects.create(pool=pool, sha256=image.sha256, until=tomorrow)
    stage(world.driver(), pool, image)
    assert volumes(world) == [image.volume]
