"""Which waiting searches are run next: clients take turns, and kinds of work do not wait for one another's batches."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lookalike.serving.lanes import Kind, Lanes

LIMITS = {Kind.QUICK: 16, Kind.WHOLE: 4, Kind.PARTS: 4}


@dataclass(frozen=True)
class Piece:
    name: str
    client: str = "shop"
    kind: Kind = Kind.WHOLE
    size: int = 1
    searcher: object = "one"


def names(batch: list[Piece]) -> list[str]:
    return [piece.name for piece in batch]


def lanes_with(*pieces: Piece) -> Lanes[Piece]:
    lanes: Lanes[Piece] = Lanes()
    for piece in pieces:
        lanes.add(piece)
    return lanes


def all_batches(lanes: Lanes[Piece]) -> list[list[str]]:
    batches = []
    while batch := lanes.next_batch(LIMITS):
        batches.append(names(batch))
    return batches


def test_one_client_is_served_in_order_of_arrival_and_by_as_many_as_fit() -> None:
    assert all_batches(lanes_with(*(Piece(f"p{i}") for i in range(6)))) == [
        ["p0", "p1", "p2", "p3"],
        ["p4", "p5"],
    ]


def test_whoever_sends_much_waits_for_himself() -> None:
    lanes = lanes_with(*(Piece(f"crowd{i}", "crowd") for i in range(40)))
    lanes.next_batch(LIMITS)
    lanes.add(Piece("shopper", "shopper"))
    assert "shopper" in names(lanes.next_batch(LIMITS))


def test_dear_work_counts_for_more() -> None:
    lanes = lanes_with(
        *(Piece(f"street{i}", "streets", Kind.PARTS, 3) for i in range(4)),
        *(Piece(f"shoe{i}", "shoes") for i in range(12)),
    )
    served = [name for batch in all_batches(lanes) for name in batch]
    assert served.index("street2") > served.index("shoe3"), "two had cost six photos, three shoes three"


def test_kinds_share_no_batch_and_what_is_quick_goes_before_most_of_the_rest() -> None:
    lanes = lanes_with(
        *(Piece(f"photo{i}") for i in range(9)),
        Piece("page0", kind=Kind.QUICK),
        Piece("parts", kind=Kind.PARTS, size=3),
        Piece("page1", kind=Kind.QUICK),
    )
    assert all_batches(lanes) == [
        ["photo0", "photo1", "photo2", "photo3"],
        ["page0", "page1"],
        ["parts"],
        ["photo4", "photo5", "photo6", "photo7"],
        ["photo8"],
    ]


def test_a_batch_is_of_one_searcher() -> None:
    lanes = lanes_with(Piece("old"), Piece("new", searcher="two"), Piece("newer", searcher="two"))
    assert all_batches(lanes) == [["old"], ["new", "newer"]]


def test_work_beyond_the_limit_is_done_alone() -> None:
    lanes = lanes_with(Piece("many", kind=Kind.PARTS, size=9), Piece("few", kind=Kind.PARTS, size=2))
    assert all_batches(lanes) == [["many"], ["few"]]


def test_a_client_gathers_no_rights_while_it_is_away() -> None:
    """Whoever comes first after a day would otherwise have all turns until it has had as much as the others."""
    lanes = lanes_with(Piece("early", "late"))
    lanes.next_batch(LIMITS)
    for i in range(100):
        lanes.add(Piece(f"day{i}", "day"))
        lanes.next_batch(LIMITS)
    for i in range(4):
        lanes.add(Piece(f"late{i}", "late"))
        lanes.add(Piece(f"more{i}", "day"))
    assert {name[:4] for name in names(lanes.next_batch(LIMITS))} == {"late", "more"}


def test_nor_does_it_lose_what_it_has_had_by_pausing() -> None:
    lanes = lanes_with(Piece("heavy0", "heavy", size=3), *(Piece(f"shop{i}") for i in range(9)))
    assert names(lanes.next_batch(LIMITS)) == ["heavy0", "shop0"]
    lanes.add(Piece("heavy1", "heavy"))
    assert names(lanes.next_batch(LIMITS))[:2] == ["shop1", "shop2"], "it has had three, the shop one"


@pytest.mark.parametrize("waiting", [True, False])
def test_clients_that_went_are_forgotten(waiting: bool) -> None:
    lanes = lanes_with(*(Piece(f"{i}", "crowd") for i in range(9000 * waiting)))
    for i in range(9000):
        lanes.add(Piece(f"{i}", f"client{i}"))
        lanes.next_batch(LIMITS)
    assert len(lanes._had) <= 1001


pieces = st.builds(
    Piece,
    name=st.text("abc", min_size=1, max_size=2),
    client=st.sampled_from("xyz"),
    kind=st.sampled_from(Kind),
    size=st.integers(1, 5),
    searcher=st.sampled_from(["one", "two"]),
)


@given(st.lists(st.one_of(st.none(), pieces), max_size=60))
def test_everything_comes_out_once_in_batches_that_fit(steps: list[Piece | None]) -> None:
    """None: take a batch."""
    lanes: Lanes[Piece] = Lanes()
    given_, taken = [], []
    for step in [*steps, *[None] * len(steps)]:
        if step is not None:
            lanes.add(step)
            given_.append(step)
            continue
        batch = lanes.next_batch(LIMITS)
        taken += batch
        assert len({(piece.kind, piece.searcher) for piece in batch}) <= 1
        assert len(batch) < 2 or sum(piece.size for piece in batch) <= LIMITS[batch[0].kind]
    for client in "xyz":
        for kind in Kind:
            mine = [piece for piece in given_ if (piece.client, piece.kind) == (client, kind)]
            assert [piece for piece in taken if (piece.client, piece.kind) == (client, kind)] == mine
