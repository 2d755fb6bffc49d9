"""Two ranks train as one does, stop together, and go on after one of them was lost. On the CPU, by gloo."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from lookalike.errors import SettingsError, TrainingError
from lookalike.learning.distributed import Ranks, joined
from tests.learning.one_rank import steps
from tests.learning.test_training import Place
from tests.shop import make_listings

ROOT = Path(__file__).parents[2]
MIDDLE = 8
"""A step in the middle of the second epoch."""


def start(*arguments: object, world: int = 2) -> list[subprocess.Popen[str]]:
    """The ranks of one training, as `torchrun` would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.learning.one_rank", *map(str, arguments)]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=os.environ | place | ranks_environment(rank, world),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(world)
    ]


def ranks_environment(rank: int, world: int) -> dict[str, str]:
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
    }


def finish(processes: list[subprocess.Popen[str]]) -> list[tuple[int, str, str]]:
    """Exit code, stdout and stderr of each rank."""
    replies = [process.communicate(timeout=280) for process in processes]
    return [(process.returncode, *reply) for process, reply in zip(processes, replies, strict=True)]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The release that two ranks train."""
    place = Place(tmp_path_factory.mktemp("two"))
    replies = finish(start("train", place.root, place.curate(make_listings(20))))
    assert [code for code, _, _ in replies] == [0, 0], replies
    assert replies[0][1] == replies[1][1]
    downloaded = [(place.root / f"downloaded-{rank}.txt") for rank in (0, 1)]
    assert any(key.startswith("curated/") for key in downloaded[0].read_text().split())
    assert not downloaded[1].exists(), "what a machine's first rank has fetched is fetched by no other"
    return replies[0][1].strip()


@pytest.mark.parametrize("sharded", [[], ["sharded"]], ids=["shuffled", "sharded"])
def test_loss_and_weights_of_two_ranks_are_those_of_one(tmp_path: Path, sharded: list[str]) -> None:
    """The same photos, augmented the same; gradients averaged; batch norms frozen, as theirs would differ."""
    one = steps(Ranks(), tmp_path, sharded=bool(sharded))
    assert [code for code, _, _ in finish(start("steps", tmp_path, *sharded))] == [0, 0]
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert first["losses"] == second["losses"] == pytest.approx(one["losses"], rel=1e-5)
    for name, value in one["weights"].items():
        assert torch.equal(first["weights"][name], second["weights"][name]), name
        torch.testing.assert_close(first["weights"][name], value, rtol=1e-4, atol=1e-5)
    assert one["read"] == list(range(80))
    if sharded:
        assert (first["read"], second["read"]) == (list(range(40)), list(range(40, 80))), "each its own half"
    else:
        assert max(first["read"]) > 40 > min(second["read"])


def test_when_one_rank_is_asked_to_stop_all_stop_at_the_same_step_and_go_on_exactly(
    undisturbed: str, tmp_path: Path
) -> None:
    place = Place(tmp_path)
    curated = place.curate(make_listings(20))
    stops = set()
    for code, _, said in finish(start("train", tmp_path, curated, "SIGTERM", MIDDLE)):
        assert code == 143
        where = re.search(r"stopped by SIGTERM in 'train categories' before epoch 2, step (\d)", said)
        assert where, said
        stops.add(where[1])
    assert len(stops) == 1
    replies = finish(start("train", tmp_path, curated, "SIGTERM", MIDDLE))
    assert [(code, out.strip()) for code, out, _ in replies] == [(0, undisturbed)] * 2, replies


def test_when_one_rank_is_killed_the_other_stops_and_says_so(tmp_path: Path) -> None:
    place = Place(tmp_path)
    began = time.monotonic()
    survivor, killed = finish(start("train", tmp_path, place.curate(make_listings(20)), "SIGKILL", MIDDLE))
    assert killed[0] == -9
    assert survivor[0] == 1
    assert "rank 0 of 2 has lost another rank" in survivor[2]
    assert time.monotonic() - began < 150


def test_torchrun_starts_a_killed_rank_again_and_the_run_ends_as_if_nothing_had_been(
    undisturbed: str, tmp_path: Path
) -> None:
    place = Place(tmp_path)
    curated = place.curate(make_listings(20))
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [
        *run,
        "--max-restarts",
        "1",
        "-m",
        "tests.learning.one_rank",
        "train",
        str(tmp_path),
        str(curated),
    ]
    reply = subprocess.run(
        [*command, "SIGKILL", str(MIDDLE)],
        cwd=ROOT,
        env=os.environ | {"OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert (tmp_path / "disturbed").exists()
    assert reply.returncode == 0, reply.stderr
    assert set(reply.stdout.split()) == {undisturbed}


@pytest.mark.parametrize(("count", "world"), [(256, 8), (20, 3), (7, 7)])
def test_the_parts_of_a_batch_are_even_and_make_it_whole(count: int, world: int) -> None:
    parts = [list(range(count))[Ranks(rank, world).part(count)] for rank in range(world)]
    assert [row for part in parts for row in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_restarts_that_would_hang_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_MAX_RESTARTS": "3"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=r"needs .* TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1"), joined():
        pytest.fail("joined")


@pytest.mark.parametrize(
    ("said", "raised"),
    [
        ("[pair.cc:553] Connection closed by peer [10.0.0.2]:4711", TrainingError),
        ("Timed out waiting 300000ms for recv operation to complete", TrainingError),
        ("Timed out after 301 seconds waiting for clients. 1/2 clients joined.", TrainingError),
        (
            "NCCL error in: NCCLUtils.cpp:94, remote process exited or there was a network error, NCCL 2.27",
            TrainingError,
        ),
        (
            "NCCL error in: NCCLUtils.cpp:94, invalid usage, NCCL 2.27\n"
            "ncclInvalidUsage: This usually reflects invalid usage of NCCL library.\n"
            "Last error:\nDuplicate GPU detected : rank 0 and rank 1 both on CUDA device 1000",
            RuntimeError,
        ),
        ("CUDA error: peer access is not supported between these two devices", RuntimeError),
    ],
)
def test_only_what_another_rank_has_done_reads_as_its_loss(
    said: str, raised: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError(said)

    for name, value in ranks_environment(1, 2).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(dist, "init_process_group", fail)
    with pytest.raises(raised, match=re.escape(said.splitlines()[0])), joined(torch.device("cpu")):
        pytest.fail("joined")


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ranks_environment(1, 2).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SettingsError, match="LOCAL_RANK is 1, but this machine has 1 GPUs"), joined():
        pytest.fail("joined")
