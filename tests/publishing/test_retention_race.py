"""A publication in the middle of a removal, and a removal in the middle of a publication: what is live is whole.

One of the two runs, and at its n-th request to the store the other one comes in and runs to its end.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lookalike.errors import LostRace, ObjectNotFound
from lookalike.publishing import publication
from lookalike.publishing.live_ref import read_live
from lookalike.publishing.retention import RetentionConfig, apply, plan
from lookalike.storage.directory import DirectoryStore
from lookalike.storage.objects import ObjectStore
from tests.shop import Shop

LATER = datetime.now(UTC) + timedelta(days=2)
"""By then everything is older than the grace period."""
Act = Callable[[ObjectStore], None]


class Interrupted(DirectoryStore):
    """A store that lets somebody else act just before the n-th request."""

    def __init__(self, root: Path, before: int, act: Act) -> None:
        super().__init__(root)
        self.before, self.act, self.asked = before, act, 0

    def _came(self) -> None:
        self.asked += 1
        if self.asked == self.before:
            self.act(DirectoryStore(self.root))

    def get(self, *given: Any, **options: Any) -> bytes:
        self._came()
        return super().get(*given, **options)

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        self._came()
        return super().get_with_etag(key)

    def put(self, *given: Any, **options: Any) -> str:
        self._came()
        return super().put(*given, **options)

    def delete(self, key: str) -> None:
        self._came()
        super().delete(key)


@pytest.fixture(scope="module")
def live_second(two: tuple[Shop, Shop], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store in which the second index is live, so that the first is to be removed, curated snapshot and all."""
    root = tmp_path_factory.mktemp("live") / "store"
    shutil.copytree(Path(two[0].store.uri.removeprefix("file://")), root)
    publication.publish_index(DirectoryStore(root), two[1].index, by="test", cache_dir=two[0].cache_dir)
    return root


@pytest.mark.parametrize("first", ["publish", "retain"])
def test_whoever_comes_in_between_what_is_live_is_whole(
    two: tuple[Shop, Shop], live_second: Path, tmp_path: Path, first: str
) -> None:
    old = two[0]

    def publish(store: ObjectStore) -> None:
        publication.publish_index(store, old.index, by="ada", cache_dir=tmp_path / "cache", accept=True)

    def retain(store: ObjectStore) -> None:
        apply(store, plan(store, RetentionConfig(records=0, releases=1), now=LATER))

    one, other = (publish, retain) if first == "publish" else (retain, publish)

    def run(before: int) -> tuple[int, bool]:
        """How many requests it took, and whether the old index is live afterwards."""
        root = tmp_path / f"store-{before}"
        shutil.copytree(live_second, root)

        def suffered(act: Act, store: ObjectStore) -> None:
            try:
                act(store)
            except (LostRace, ObjectNotFound):
                return

        store = Interrupted(root, before, lambda theirs: suffered(other, theirs))
        suffered(one, store)
        live = read_live(store)
        assert live is not None
        broken = list(publication.damages(store, live.live.release, live.live.tip))
        assert not broken, f"interrupted before request {before}: {broken[0]}"
        retain(DirectoryStore(root))  # whoever was left half-way is finished
        found = read_live(store)
        assert found is not None
        assert not found.removing
        shutil.rmtree(root)
        return store.asked, live.live.tip == old.index

    asked, _ = run(0)
    outcomes = [run(before)[1] for before in range(1, asked + 1)]
    assert set(outcomes) == {True, False}, "at some moments either side wins"
