"""Training that cannot go on says why, keeps what it has, and started again ends where an undisturbed run does."""

from __future__ import annotations

import gc
import os
import resource
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lookalike.errors import CorruptObject, LookalikeError, StorageError, TrainingError, TrainingStopped
from lookalike.learning.network import HashNetwork
from lookalike.learning.recipes import Recipe
from lookalike.learning.stopping import StopRequest
from lookalike.learning.training import train
from lookalike.storage.artefacts import Ref
from tests.learning.test_training import FAST, Place
from tests.shop import make_listings

# Six steps an epoch; the category stage with a running average and a cosine, the hash stage by the paper's rounds.
RECIPE = replace(
    FAST,
    category_stage=replace(FAST.category_stage, batch=16),
    hash_stage=replace(FAST.hash_stage, policy="plateau", patience=0, batch=16, epochs=4),
)


def train_with(place: Place, curated: Ref, at: int, act: Callable[[], None], recipe: Recipe = RECIPE) -> Ref:
    """Train, and `act` after that many steps of both stages together."""
    seen = 0

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        nonlocal seen
        seen += stage.startswith("train ")
        if seen == at and stage.startswith("train "):
            act()

    return train(place.store, curated, recipe, cache_dir=place.root / "cache", threads=1, progress=progress)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Ref:
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    return place.train(place.curate(make_listings(20)), RECIPE)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def test_sigterm_ends_the_step_keeps_it_and_the_run_goes_on_exactly(undisturbed: Ref, place: Place) -> None:
    """In the middle of an epoch and at its end, in both stages; each run does some steps of the same training."""
    curated = place.curate(make_listings(20))
    ask = signal.getsignal(signal.SIGTERM)
    for at, where in (
        (8, "'train categories' before epoch 2, step 4"),  # asked between two steps: one more is done
        (2, "'train categories' before epoch 3, step 1"),
        (8, "'train hash head' before epoch 1, step 3"),  # six steps, the stage's last word, and two more
    ):
        with pytest.raises(TrainingStopped, match=f"stopped by SIGTERM in {where}, which is kept") as stopped:
            train_with(place, curated, at, lambda: os.kill(os.getpid(), signal.SIGTERM))
        assert stopped.value.exit_code == 143
        assert signal.getsignal(signal.SIGTERM) == ask
    assert place.train(curated, RECIPE) == undisturbed


def test_outside_the_loop_sigterm_takes_effect_at_once(place: Place) -> None:
    curated = place.curate(make_listings(6))

    def progress(stage: str, done: int, total: int, note: str = "") -> None:
        if stage == "decode photos":
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(TrainingStopped, match="before or after the training loop"):
        train(place.store, curated, RECIPE, cache_dir=place.root / "cache", threads=1, progress=progress)


def test_an_exception_that_a_library_made_of_the_request_is_still_a_stop() -> None:
    def convert() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        except TrainingStopped as error:
            raise RuntimeError("conversion failed") from error

    with pytest.raises(TrainingStopped), StopRequest().watched():
        convert()


def test_a_request_that_came_between_two_stages_stops_before_the_second() -> None:
    stop = StopRequest()
    with stop.watched(), stop.deferred():
        os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(TrainingStopped), stop.deferred():
        pytest.fail("a stage was begun")


def test_a_thread_cannot_watch_signals_and_trains_without() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with StopRequest().watched():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


@contextmanager
def full_disk(root: Path) -> Iterator[Callable[[bool], None]]:
    """A real file system of 8 MB at `root`, to be filled and emptied."""
    root.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(root)]
    if os.geteuid() or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")

    def fill(full: bool) -> None:
        filler = root / "filler"
        if not full:
            filler.unlink()
            return
        with filler.open("wb", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                return

    try:
        yield fill
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


@contextmanager
def file_limit(root: Path) -> Iterator[Callable[[bool], None]]:
    """No file may grow beyond a few bytes, as with a quota."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda full: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]) if full else before)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limited", [full_disk, file_limit])
def test_a_full_disk_stops_training_and_the_last_checkpoint_stands(
    limited: Callable[[Path], contextmanager],
    undisturbed: Ref,
    place: Place,  # type: ignore[type-arg]
) -> None:
    with limited(place.root / "store") as fill:
        curated = place.curate(make_listings(20))
        with pytest.raises(StorageError, match=r"the checkpoint cannot be written.*(No space|too large)"):
            train_with(place, curated, 8, lambda: fill(True))
        fill(False)
        left = [info.key.rpartition("/")[2] for info in place.store.list("checkpoints/")]
        assert left == ["inputs.json", "state.pt"]
        assert place.train(curated, RECIPE) == undisturbed


def test_a_loss_that_is_not_a_number_leaves_the_last_checkpoint(undisturbed: Ref, place: Place) -> None:
    """A weight goes bad in memory; what was kept before is whole."""
    curated = place.curate(make_listings(20))

    def spoil() -> None:
        for thing in gc.get_objects():
            if type(thing) is HashNetwork:
                thing.category_head.bias.data[0] = torch.nan

    with pytest.raises(TrainingError, match="the loss is nan in epoch 2, step 3; the last checkpoint stands"):
        train_with(place, curated, 8, spoil)
    assert place.train(curated, RECIPE) == undisturbed


def test_a_damaged_photo_shard_is_named_and_training_goes_on_with_a_whole_one(
    undisturbed: Ref, place: Place
) -> None:
    curated = place.curate(make_listings(20))

    def interrupt() -> None:
        raise LookalikeError("the machine went away")

    with pytest.raises(LookalikeError, match="went away"):
        train_with(place, curated, 8, interrupt)
    (shard,) = (path for path in place.root.glob("store/curated/*/*.tar"))
    whole = shard.read_bytes()
    shutil.rmtree(place.root / "cache")  # with the decoded photos: else no pack is read again
    shard.write_bytes(whole[:2000] + bytes([whole[2000] ^ 1]) + whole[2001:])
    with pytest.raises(CorruptObject, match=r"photos-00000\..*tar does not match its digest"):
        place.train(curated, RECIPE)
    shard.write_bytes(whole)
    assert place.train(curated, RECIPE) == undisturbed
