"""However commands come in between each other, what is recorded is the wish that was told to stand."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.generations import Generation, Pointer, decode_record, dropped, encode_record, lost
from ingest.registry import Wish
from tailrace.reindex.fencing import put_back, standing
from tests.unit.reindex_plan_world import frozen


@dataclass
class Topic:
    """Of one document."""

    wishes: list[Wish] = field(default_factory=list)

    def write(self, record: Generation | Pointer) -> int:
        self.wishes.append((2 * len(self.wishes), record))  # others' records are between
        return self.wishes[-1][0]

    @property
    def end(self) -> int:
        return 2 * len(self.wishes)


def command(topic: Topic, told: list[Generation | Pointer], record: Generation | Pointer) -> Iterator[None]:
    """As Control: whatever another one does may come at each `yield`."""
    decided = topic.end
    yield
    offset = topic.write(replace(record, decided=decided))
    yield
    if any(at == offset for at, _ in standing(topic.wishes)):
        told.append(record)
        return
    while (back := put_back(topic.wishes, offset)) is not None:
        yield
        topic.write(back)


def worker(topic: Topic, told: list[Generation | Pointer], record: Generation | Pointer) -> Iterator[None]:
    """It says nothing of what its record rests on."""
    yield
    topic.write(record)
    told.append(record)


@given(st.data())
@settings(max_examples=200)
def test_the_record_is_that_of_the_last_wish_that_stands(data: st.DataObject) -> None:
    topic, told = Topic(), list[Generation | Pointer]()
    of_one = data.draw(st.booleans())

    def wish(number: int) -> Generation | Pointer:
        if of_one:
            return Generation("articles", 2, "running", frozen(), started_at=number)
        if data.draw(st.booleans()):
            return Generation("articles", number, "running", frozen())
        return Pointer("articles", number, 1, number)

    if data.draw(st.booleans()):
        told.append(wish(9))
        topic.write(replace(told[0], decided=data.draw(st.sampled_from([None, 0]))))
    actors = [
        (command if data.draw(st.integers(0, 5)) else worker)(topic, told, wish(number))
        for number in range(data.draw(st.integers(1, 5)))
    ]
    while actors:
        actor = data.draw(st.sampled_from(actors))
        if next(actor, "ended") == "ended":
            actors.remove(actor)
    first = {id(one): next(at for at, made in topic.wishes if made == one) for one in told}
    for key in {encode_record(one)[0] for _, one in topic.wishes}:
        last = next(one for _, one in reversed(topic.wishes) if encode_record(one)[0] == key)
        stand = [one for one in told if encode_record(one)[0] == key]
        if stand:
            assert last == max(stand, key=lambda one: first[id(one)])
        elif isinstance(last, Pointer):
            assert last.live == 1, "what answered before"
        else:
            assert last.status == "dropped"


def test_a_record_tells_what_it_was_decided_on_and_that_of_an_older_release_does_not() -> None:
    for one in (Pointer("articles", 2, 1, 9), Generation("articles", 2, "running", frozen())):
        for decided in (7, None):
            key, value = encode_record(replace(one, decided=decided))
            found = decode_record(key, value)
            assert isinstance(found, type(one))
            assert (found, found.decided) == (one, decided)
        assert decode_record(key, value.replace(b',"decided":null', b"")) == one
    made = Generation("articles", 2, "running", frozen(), decided=7)
    assert dropped(made).decided is lost(made).decided is None
