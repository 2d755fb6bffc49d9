"""From a finished training to a model release: calibrate, measure, fit the aspect models, export, check, write.

Everything that a reader of the release needs is computed on the photos as search sees them: without augmentation, in
float32, on a GPU too without TF32. The exported graph is held against torch on real photos before anything becomes
visible.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray

from lookalike.aspects.models import TREES, AspectModels
from lookalike.aspects.training import fit_aspects
from lookalike.catalogue.snapshot import ASPECT_PREFIX, CuratedSnapshot
from lookalike.coding import codes
from lookalike.coding.encoder import compile_encoder, encoding_of
from lookalike.coding.release import ModelCard
from lookalike.coding.shards import put_shard
from lookalike.errors import TrainingError
from lookalike.learning.curves import draw_curves
from lookalike.learning.dataset import TrainingData
from lookalike.learning.export import Graph
from lookalike.learning.looks import Looking
from lookalike.learning.network import HashNetwork
from lookalike.learning.outputs import Trained
from lookalike.learning.recipes import Recipe
from lookalike.learning.regions import Regions
from lookalike.learning.transforms import plain_transform
from lookalike.quality.calibration import fit_temperature
from lookalike.quality.metrics import rank_relevance, ranking_quality, top_k_accuracy
from lookalike.storage.artefacts import ArtefactWriter, Ref
from lookalike.storage.objects import ObjectStore
from lookalike.strict_json import plain
from lookalike.version import VERSION

_CHECKED_PHOTOS = 200
_CHECKED_BY_TORCH = 32
_AGREEING_BITS, _AGREEING_TOP1 = 0.995, 0.995
_SHARD = 4096
"""Photos of a code shard that is left for extraction."""
_CLUTTERED = 0.05
"""Share of the catalogue's own photos that is taken to be cluttered: they are searched by parts, too."""
_NEAR_TIE = 0.01
"""Two logits so close to one another may change places by the order of sums alone."""


def write(
    writer: ArtefactWriter,
    folder: Path,
    trained: Trained,
    snapshot: CuratedSnapshot,
    threads: int,
    origin: Mapping[str, str],
    graph: Graph | None = None,
) -> Ref:
    """Write the release of a trained network through `writer`, using `folder` for its files.

    `origin` says of the weights that it started from their name, licence and source; empty: from scratch. `graph` is
    the network's, where the features have come from it (`as_served`): then codes are left for extraction.
    All ranks return the release; rank 0 does the work. Raises `TrainingError` where the exported graph does not agree
    with the network.
    """
    recipe, data, network = trained.recipe, trained.data, trained.network
    if not trained.ranks.first:
        return Ref.parse(trained.ranks.told(""))
    if snapshot.aspects:
        trained.progress("fit aspect models", 0, len(snapshot.aspects))
    with ThreadPoolExecutor(1, "aspects") as beside:
        fitting = beside.submit(_fit_aspects, trained, snapshot, threads)
        quality = _quality(trained)
        draw_curves(trained.metrics, folder / "curves.png")
        aspects = fitting.result()
    if snapshot.aspects:
        trained.progress("fit aspect models", len(snapshot.aspects), len(snapshot.aspects))
    metrics = quality | {"aspects": aspects.metrics, "validation": data.note}
    card = ModelCard(
        architecture=recipe.trunk,
        recipe=recipe.name,
        hash_head=recipe.hash_head,
        categories=data.categories,
        preset=recipe.preset,
        bits=recipe.bits,
        features=network.feature_count,
        colours=network.colours,
        category_bits=getattr(network.hash_head, "category_bits", 0),
        colour_bits=getattr(network.hash_head, "colour_bits", 0),
        temperature=fit_temperature(trained.validation["logits"], data.validation.labels),
        aspects=aspects.values,
        metrics=metrics,
        data_digest=str(snapshot.ref),
        start=origin,
        code_version=VERSION,
    )
    card = _export(trained, card, folder, graph)
    lines = [json.dumps(plain(entry), allow_nan=False) + "\n" for entry in trained.metrics]
    (folder / "metrics.jsonl").write_text("".join(lines))
    for name in ("model.json", "model.onnx", "weights.safetensors", "metrics.jsonl", "curves.png"):
        writer.add(name, folder / name)
    if aspects.models:
        aspects.save(folder / "trees.npz")
        writer.add(TREES, folder / "trees.npz")
    summary = {
        name: value for name, value in metrics.items() if isinstance(value, float) and math.isfinite(value)
    }
    start = {"weights" if name == "weights" else f"weights_{name}": said for name, said in origin.items()}
    ref = writer.commit(
        {"recipe": recipe.name, "categories": len(data.categories), "bits": recipe.bits, "metrics": summary}
        | start
    )
    if graph is not None:
        _leave_codes(writer.store, ref, trained, card)
    return Ref.parse(trained.ranks.told(str(ref)))


def _export(trained: Trained, card: ModelCard, folder: Path, graph: Graph | None) -> ModelCard:
    """Write model.json, the weights and the graph, and hold the graph against torch's own outputs.

    Returns the card with what only the graph could tell.
    """
    weights = {name: value.cpu().contiguous() for name, value in trained.network.state_dict().items()}
    safetensors.torch.save_file(weights, folder / "weights.safetensors")
    regions = _regions(trained)
    if graph is None or not graph.is_of(trained.network, regions):
        graph = Graph(trained.network, card.preset, regions)
    graph.write(folder / "model.onnx", trained.network, regions)
    data, expected = trained.data, trained.validation
    rows = np.arange(min(_CHECKED_PHOTOS, len(data.validation)))
    squares = np.empty((len(rows), card.preset.resize, card.preset.resize, 3), np.uint8)
    data.squares.take(data.validation.photo[rows], squares)
    activations, logits = expected["activations"][rows], expected["logits"][rows]
    if trained.recipe.frozen:  # those may come from such a graph themselves
        with torch.inference_mode():
            photos = torch.from_numpy(squares[:_CHECKED_BY_TORCH]).permute(0, 3, 1, 2)
            outputs = trained.network(plain_transform(card.preset, torch.device("cpu"))(photos))
        activations, logits = outputs.activations.numpy(), outputs.logits.numpy()
    found = compile_encoder(card, folder / "model.onnx", precision="f32").encode(squares)
    bits = (codes.unpack(found.codes[: len(logits)]) == (activations > 0.5)).mean()
    top1 = agreeing_top1(found.probabilities[: len(logits)], logits)
    if bits < _AGREEING_BITS or top1 < _AGREEING_TOP1:
        raise TrainingError(
            f"the exported graph disagrees with the network: {bits:.2%} of bits, {top1:.2%} of categories are equal"
        )
    if found.regions.size:
        frames = found.regions.mean(axis=(1, 2))
        card = replace(card, cluttered_below=round(float(np.quantile(frames, _CLUTTERED)), 5))
    (folder / "model.json").write_text(card.to_json())
    return card


def _leave_codes(store: ObjectStore, release: Ref, trained: Trained, card: ModelCard) -> None:
    """Code shards of the photos that it learned from, so that extraction decodes and encodes the others alone."""
    data, network = trained.data, trained.network
    left = np.zeros(0, np.int64)
    for examples, outputs in ((data.train, trained.training), (data.validation, trained.validation)):
        if "features" not in outputs:
            continue
        photos, rows = np.unique(examples.photo, return_index=True)
        new = ~np.isin(photos, left)
        photos, rows = photos[new], rows[new]
        left = np.concatenate([left, photos])
        for start in range(0, len(rows), _SHARD):
            features = outputs["features"][rows[start : start + _SHARD]]
            with torch.inference_mode():
                seen = torch.from_numpy(features)
                logits, activations = network.category_head(seen), network.hash_head(seen)
            encoding = encoding_of(card, logits.numpy(), activations.numpy(), features)
            ids = [data.photo_ids[at] for at in photos[start : start + _SHARD]]
            put_shard(store, release, ids, [encoding])


def _regions(trained: Trained) -> Regions | None:
    """What of the catalogue a part of a frame may be like; None where the network has no feature maps."""
    network, data = trained.network, trained.data
    if not _has_regions(network):
        return None
    features, labels = trained.validation["features"], data.validation.labels
    if "features" in trained.training:
        features, labels = trained.training["features"], data.train.labels
    width = network.feature_count - network.colours
    return Regions.of(torch.from_numpy(features[:, :width]), torch.from_numpy(labels))


def _has_regions(network: HashNetwork) -> bool:
    return isinstance(network.trunk, Looking) and network.trunk.has_maps


def as_served(
    network: HashNetwork, data: TrainingData, recipe: Recipe, threads: int
) -> tuple[Graph, Callable[[NDArray[np.uint8]], NDArray[np.float32]]]:
    """The graph that the network's release will have, and the network as it is now, by that graph on a CPU.

    The second takes squares u8 [n, side, side, 3] and gives features f32 [n, d].
    """
    regions = None
    if _has_regions(network):
        present = len(np.unique(data.train.labels))
        regions = Regions.blank(present, network.feature_count - network.colours)
    graph = Graph(network, recipe.preset, regions)
    with tempfile.TemporaryDirectory(prefix="trunk-") as folder:
        path = Path(folder) / "model.onnx"
        graph.write(path, network, regions)
        card = ModelCard(
            recipe.trunk, recipe.name, data.categories, recipe.preset, recipe.bits, network.feature_count
        )
        encoder = compile_encoder(card, path, threads=threads, precision="f32")
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return graph, lambda squares: encoder.encode(squares).features


def agreeing_top1(probabilities: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """The part of n photos whose most probable category has the highest of `logits` [n, C], or nearly ties with it."""
    chosen = np.take_along_axis(logits, probabilities.argmax(axis=1, keepdims=True), axis=1)[:, 0]
    return float((logits.max(axis=1) - chosen < _NEAR_TIE).mean())


def _quality(trained: Trained) -> dict[str, Any]:
    """Recognition on the validation listings, and how they rank the training listings by code and by features.

    The outputs on the training photos hold no activations where there are too many to rank.
    """
    data, training, validation = trained.data, trained.training, trained.validation
    logits, truth = validation["logits"], data.validation.labels
    quality: dict[str, Any] = {
        "photos_trained": trained.photos,
        "photos_validated": len(data.validation),
        "top1": top_k_accuracy(logits, truth, 1),
        "top5": top_k_accuracy(logits, truth, 5),
    }
    if "activations" not in training:
        return quality
    relevant = truth[:, None] == data.train.labels
    gallery, queries = codes.pack(training["activations"]), codes.pack(validation["activations"])
    by_code = np.stack([codes.hamming(query, gallery) for query in queries])
    by_feature = -_unit(validation["features"]) @ _unit(training["features"]).T
    for name, distances in (("code", by_code), ("feature", by_feature)):
        ranked = ranking_quality(rank_relevance(distances, relevant), (10,))
        quality[f"{name}_mAP"] = ranked.mean_average_precision
        quality[f"{name}_precision10"] = ranked.precision_at[10]
    return quality


def _fit_aspects(trained: Trained, snapshot: CuratedSnapshot, threads: int) -> AspectModels:
    data, training, validation = trained.data, trained.training, trained.validation
    if not snapshot.aspects:
        return AspectModels.none(len(data.categories))
    rows = np.concatenate([data.train.listing_rows, data.validation.listing_rows])
    table = snapshot.listings.take(rows)
    values = {
        name: [tuple(stated or ()) for stated in table[ASPECT_PREFIX + name].to_pylist()]
        for name in snapshot.aspects
    }
    return fit_aspects(
        np.concatenate([training["features"], validation["features"]]),
        np.concatenate([data.train.labels, data.validation.labels]),
        data.categories,
        values,
        np.arange(len(rows)) >= len(data.train),
        seed=trained.recipe.seed,
        threads=threads,
        training=trained.recipe.aspects,
        groups=table["group"].to_pylist(),
    )


def _unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return unit
