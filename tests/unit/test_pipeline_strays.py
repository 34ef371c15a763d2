from dataclasses import replace
from typing import Any

import pytest

from core.errors import TransientError
from embed.strays import StraySweep
from tests.unit.pipeline_world import THREE, Away, World, document, removal


@pytest.fixture
def world() -> World:
    return World()


def test_strays_are_swept_and_nothing_else(world: World) -> None:
    world.pipeline.apply([document(1, 5, THREE), document(2, 5, "Two.")])

    def crash(name: str) -> None:
        if name == "before_delete_extra":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.another(crash).apply([document(1, 6, "One two three.")])
    assert len(world.texts()) == 4
    assert world.swept() == 2
    assert world.texts() == ["One two three.", "Two."]
    assert world.swept() == 0


def test_a_sweep_goes_on_where_it_was_after_an_outage_and_beside_writers(world: World) -> None:
    world.pipeline.apply([document(n, 5, f"Row {n} is.\n\nMore of {n} here.") for n in range(5)])

    def crash(name: str) -> None:
        if name == "before_delete_extra":
            raise KeyboardInterrupt

    for n in range(5):
        with pytest.raises(KeyboardInterrupt):
            world.another(crash).apply([document(n, 6, f"Row {n} is.")])
    away: Any = Away(world.collection)
    sweep = StraySweep(away, page=1)
    steps = done = 0
    while not done:
        steps += 1
        away.down = steps % 2 == 1
        try:
            done = sweep.step()
        except TransientError:
            continue
        if steps == 12:  # some strays are listed again, and a row is new
            world.pipeline.apply([document(n, 7, f"Row {n} is.\n\nMore of {n} here.") for n in (1, 3)])
            world.pipeline.apply([document(9, 7, "Row 9 is.")])
    assert sweep.found == 3
    assert steps >= 2 * (5 + 11)
    again = [f"More of {n} here." for n in (1, 3)]
    assert world.texts() == sorted([*again, *(f"Row {n} is." for n in (0, 1, 2, 3, 4, 9))])


@pytest.mark.parametrize("renamed", [1, 2])
def test_a_write_under_way_is_no_stray_of_another_row_whose_key_reads_the_same(
    world: World, renamed: int
) -> None:
    def crash(name: str) -> None:
        if name == "after_upsert":
            raise KeyboardInterrupt

    old, new = (replace(document(n, 5, "One two three."), key="1") for n in (renamed, 3 - renamed))
    world.pipeline.apply([old, new])
    world.pipeline.apply([replace(removal(renamed, 9), key="1")])
    with pytest.raises(KeyboardInterrupt):
        world.another(crash).apply([replace(new, version=7, text=THREE)])
    assert world.swept() == 0
    assert world.found() == set(THREE.split("\n\n"))


@pytest.mark.parametrize("gone", [1, 2])
def test_a_first_write_is_no_stray_of_a_grave_whose_key_reads_the_same(world: World, gone: int) -> None:
    def crash(name: str) -> None:
        if name == "after_upsert":
            raise KeyboardInterrupt

    grave, new = (replace(one, key="1") for one in (removal(gone, 9), document(3 - gone, 7, THREE)))
    world.pipeline.apply([grave])
    with pytest.raises(KeyboardInterrupt):
        world.another(crash).apply([new])
    assert world.swept() == 0
    assert world.found() == set(THREE.split("\n\n"))


def test_a_first_write_under_way_is_no_stray(world: World) -> None:
    def crash(name: str) -> None:
        if name == "after_upsert":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world.another(crash).apply([document(1, 5, THREE)])
    assert world.swept() == 0
    assert len(world.texts()) == 3
    assert world.found() == set(THREE.split("\n\n"))  # a candidate: without a manifest it counts for nothing
    assert world.pipeline.apply([document(1, 5, THREE)]).embedded == 0
