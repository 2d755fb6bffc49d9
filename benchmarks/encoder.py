"""The encoder: OpenVINO against torch in float32 and ONNX Runtime, time for one photo and agreement of the answers.

    python -m benchmarks.encoder --store .demo/store --json results.json
    python -m benchmarks.encoder --store file:///tmp/clothing --split val --json results.json

The live model release of `--store` on photos of its own catalogue (64 of them, or all of a split, such as those that it
was not trained on), and a ResNet-50 at 227 pixels (the paper's network) with random weights, each on the same number
of threads. Times are medians of 30 single photos after 5 to warm up.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import safetensors.torch
import torch

from benchmarks.grown import live_photos, median_ms
from benchmarks.report import entries, machine, write
from lookalike.coding.encoder import Encoder, compile_encoder, encoding_of
from lookalike.coding.release import ModelCard, TransformPreset
from lookalike.imaging import photos
from lookalike.learning.export import export_onnx
from lookalike.learning.network import HashNetwork
from lookalike.publishing.live_ref import read_live
from lookalike.settings import available_cores
from lookalike.storage.artefacts import Artefact, fetch
from lookalike.storage.stores import open_store

PHOTOS = 64


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--store", required=True, help="a store with something live, such as the demo's")
    parser.add_argument("--split", default=None, help=f"take all photos of this split instead of {PHOTOS}")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    options = parser.parse_args()
    before = machine()
    store = open_store(options.store)
    live = read_live(store)
    if live is None:
        raise SystemExit(f"{options.store}: nothing is live")
    with tempfile.TemporaryDirectory() as cache:
        release = fetch(store, live.live.release, Path(cache))
        queries = live_photos(store, live.live.index, Path(cache), PHOTOS, options.split)
        results = compare_encoders(release, queries, options.threads)
    targets = {f"{network}: torch / openvino": 2.0 for network in results}
    targets |= {f"{network}: default: bits_equal": 0.995 for network in results}
    peers = {f"{network}: torch / openvino": f"{network}: torch_f32_ms" for network in results}
    targets["release: default: top1_equal"] = 0.995  # the other network is not trained
    data = {"release": str(live.live.release), "photos": len(queries), "split": options.split, "seed": 0}
    write(options.json, before, list(entries(results, targets, peers)), data=data)


def compare_encoders(release: Artefact, queries: Sequence[bytes], threads: int) -> dict[str, Any]:
    """The release's network, then a ResNet-50 at 227 pixels with random weights, each in four ways."""
    import torch

    card = ModelCard.read(release.path("model.json"))
    network = HashNetwork(
        card.architecture, categories=len(card.categories), bits=card.bits, hash_head=card.hash_head
    )
    network.load_state_dict(safetensors.torch.load_file(release.path("weights.safetensors")))
    own = compare_one(card, network, release.path("model.onnx"), queries, threads)
    torch.manual_seed(0)
    large = HashNetwork("resnet50", categories=100, bits=4096)
    preset = TransformPreset("paper", 256, 227)
    names = tuple(f"category-{i:03d}" for i in range(100))
    large_card = ModelCard("resnet50", "random", names, preset, 4096, large.feature_count)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        export_onnx(large, preset, path)
        return {"release": own, "resnet50 at 227": compare_one(large_card, large, path, queries, threads)}


def compare_one(
    card: ModelCard, network: Any, onnx: Path, queries: Sequence[bytes], threads: int
) -> dict[str, Any]:
    """Median time of one photo by each runtime, and how far OpenVINO's bits and categories equal torch's."""
    threads = threads or available_cores()
    torch.set_num_threads(threads)
    network.eval()
    squares = np.stack([photos.load_square(q, card.preset.resize) for q in queries])
    mean, std = (255 * torch.tensor(v).view(1, 3, 1, 1) for v in (card.preset.mean, card.preset.std))
    start = (card.preset.resize - card.preset.crop) // 2
    window = slice(start, start + card.preset.crop)

    @torch.inference_mode()
    def by_torch(square: np.ndarray) -> Any:
        pixels = torch.from_numpy(square)[:, window, window].permute(0, 3, 1, 2).float()
        return network((pixels - mean) / std)

    default = compile_encoder(card, onnx, threads=threads)
    exact = compile_encoder(card, onnx, threads=threads, precision="f32")
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(onnx), settings, ["CPUExecutionProvider"])

    def agreement(encoder: Encoder) -> dict[str, float]:
        differing = equal = 0
        for some in np.array_split(squares, -(-len(squares) // PHOTOS)):
            wanted = encoding_of(card, *(output.numpy() for output in by_torch(some)))
            found = encoder.encode(some)
            differing += int(np.bitwise_count(found.codes ^ wanted.codes).sum())
            equal += int((found.probabilities.argmax(1) == wanted.probabilities.argmax(1)).sum())
        bits = len(squares) * card.bits
        return {"bits_equal": round(1 - differing / bits, 5), "top1_equal": round(equal / len(squares), 4)}

    one = squares[:1]
    times = {
        "openvino_default_ms": median_ms(lambda: default.encode(one)),
        "openvino_f32_ms": median_ms(lambda: exact.encode(one)),
        "onnxruntime_f32_ms": median_ms(lambda: session.run(None, {"photos": one})),
        "torch_f32_ms": median_ms(lambda: by_torch(one)),
    }
    return {
        "architecture": card.architecture,
        "side": card.preset.crop,
        **times,
        "torch / openvino": round(times["torch_f32_ms"] / times["openvino_default_ms"], 2),
        "default": agreement(default),
        "f32": agreement(exact),
    }


if __name__ == "__main__":
    main()
