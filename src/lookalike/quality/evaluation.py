"""How good the live pair of model release and index snapshot is, with a labelled catalogue as queries.

Three questions are kept apart. *Recognition*: is the true leaf category the likeliest, or among the five likeliest?
*Codes*: with the whole gallery ranked by Hamming distance, and by the cosine of the float features that the codes
come from, how good are the two orders? Their difference is what hashing costs. *Search*: what a shopper gets, through
routing, scan, re-rank and grouping, and what each of these parts gains; `looks` says whether it looks alike.

A query never scores by itself: listings with its id or its very photo are excluded. Relevant at category level is
a listing of the query's leaf category; at product level one of the query's product, where the catalogue says products.
Ties are broken by listing id.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lookalike.catalogue.reading import read_catalogue
from lookalike.coding.encoder import Encoder
from lookalike.index.generation import read_generation
from lookalike.index.layers import open_index
from lookalike.progress import Progress, silent
from lookalike.quality.claims import all_ticks, aspect_accuracy, refusals
from lookalike.quality.gallery import Gallery, lengths, read_gallery
from lookalike.quality.labels import NOBODY
from lookalike.quality.looks import look_quality
from lookalike.quality.metrics import (
    RankingQuality,
    pooled_quality,
    rank_relevance,
    ranking_quality,
    top_k_accuracy,
)
from lookalike.quality.queries import Asked, Queries, encode_queries
from lookalike.ranking.encoded import EncodedQuery
from lookalike.ranking.request import Answer, RankingConfig, SearchRequest
from lookalike.ranking.search import Searcher, open_searcher
from lookalike.settings import S3Settings
from lookalike.storage.artefacts import Ref, fetch
from lookalike.storage.objects import ObjectStore

DEPTH = 100
KS = (1, 10, 100)
_EXACT_PAIRS = 2_000_000_000
"""Above so many query x gallery pairs the whole-gallery rankings are left out: they would take minutes."""


@dataclass(slots=True)
class Evaluation:
    """The numbers (`report`, JSON-like) and what the page needs to show single queries."""

    report: dict[str, Any]
    queries: Queries
    answers: list[Answer]
    category_names: tuple[str, ...]
    predicted: NDArray[np.str_]


def evaluate(
    store: ObjectStore,
    release: Ref,
    index: Ref,
    catalogue_uri: str,
    *,
    split: str | None = None,
    columns: Mapping[str, str] | None = None,
    photo_roots: Sequence[str] = (),
    ranking: RankingConfig | None = None,
    ablate: bool = False,
    cache_dir: Path,
    s3: S3Settings | None = None,
    threads: int = 0,
    progress: Progress = silent,
) -> Evaluation:
    """Score the listings of `catalogue_uri` (of `split`, if given) as queries against an index snapshot.

    Raises `CatalogueError` where no query is left.
    """
    ranking = ranking or RankingConfig()
    catalogue = read_catalogue(catalogue_uri, columns=columns, photo_roots=photo_roots, s3=s3)
    asked = Asked.of(catalogue, split)  # first: a misspelt split costs no download
    refs = release, *read_generation(store, index).parts
    files, base, *deltas = (fetch(store, ref, cache_dir) for ref in refs)
    searcher = open_searcher(files, base, ranking, deltas=deltas, threads=threads)
    encoder, snapshot = searcher.encoder, open_index(base, deltas)
    queries = encode_queries(asked, encoder, snapshot.categories, progress)
    gallery = read_gallery(store, index, snapshot, queries, cache_dir)
    report: dict[str, Any] = {
        "release": str(release),
        "index": str(index),
        "catalogue": catalogue_uri,
        "split": split,
        "queries": len(queries.listings),
        "gallery": len(gallery),
        "rejected": queries.rejected,
        "recognition": recognition(queries, encoder),
        "codes": code_quality(queries, gallery, progress),
    }
    understood = searcher.understand(queries.encoding)

    def search(config: RankingConfig, name: str) -> tuple[list[Answer], list[Answer]]:
        ungrouped = dataclasses.replace(config, group=False)
        listed, shown = (
            _answers(
                Searcher(encoder, searcher.listings, each, aspects=searcher.aspects),
                understood,
                queries,
                gallery,
                progress,
                name,
            )
            for each in (ungrouped, config)
        )
        return listed, shown

    listed, answers = search(ranking, "search")
    report["search"] = search_quality(listed, answers, queries, gallery)
    first = _first(searcher, understood, gallery)
    report["looks"] = look_quality(listed, answers, queries, gallery, first, grouped=ranking.group)
    report["aspects"] = aspect_accuracy(searcher.predict(queries.encoding), answers, queries, gallery.labels)
    report["ticks"] = all_ticks(report["aspects"])
    report["likeness"] = refusals(answers, ranking.least_likeness)
    if ablate:
        report["ablation"] = {
            name: search_quality(*search(config, name), queries, gallery)
            for name, config in variants(ranking).items()
        }
    predicted = np.array(encoder.card.categories)[queries.encoding.probabilities.argmax(axis=1)]
    return Evaluation(report, queries, answers, encoder.card.categories, predicted)


def variants(ranking: RankingConfig) -> dict[str, RankingConfig]:
    """The configured ranking with one part changed at a time."""
    change = dataclasses.replace
    return {
        "one category": change(ranking, maximum_categories=1),
        "always five categories": change(ranking, probability_mass=1.0, maximum_categories=5),
        "all categories": change(ranking, probability_mass=1.0, maximum_categories=0),
        "no re-score": change(ranking, asymmetric=False),
        "no aspects": change(ranking, blend=1.0),
        "blend 0.5": change(ranking, blend=0.5),
        "no grouping": change(ranking, group=False),
        "appearance by code length": change(ranking, relative=False),
    }


def recognition(queries: Queries, encoder: Encoder) -> dict[str, Any]:
    """Top-1 and top-5 accuracy over the queries whose category the model knows."""
    place = {name: i for i, name in enumerate(encoder.card.categories)}
    truth = np.array([place.get(name, -1) for name in queries.categories])
    counted = truth >= 0
    scores, truth = queries.encoding.probabilities[counted], truth[counted]
    sure = scores.max(axis=1) if len(truth) else np.empty(0)
    correct = scores.argmax(axis=1) == truth if len(truth) else np.empty(0, bool)
    return {
        "queries": int(counted.sum()),
        "unknown_category": int((~counted).sum()),
        "top1": top_k_accuracy(scores, truth, 1),
        "top5": top_k_accuracy(scores, truth, 5),
        "calibration_error": _calibration_error(sure, correct),
    }


def code_quality(queries: Queries, gallery: Gallery, progress: Progress = silent) -> dict[str, Any]:
    """Whole-gallery rankings by Hamming distance of codes and by cosine of features, at both levels."""
    pairs = len(queries.listings) * len(gallery)
    if pairs > _EXACT_PAIRS:
        return {"left_out": f"{pairs:,} pairs of query and listing are too many to rank in full"}
    rankings: dict[str, list[RankingQuality]] = {}
    for rows in gallery.blocks():
        own = gallery.own_pairs(rows)
        distances: dict[str, NDArray[np.number]] = {"codes": gallery.distances(queries.encoding.codes[rows])}
        if gallery.features is not None:
            features = queries.encoding.features[rows]
            distances["features"] = -((features / lengths(features)) @ gallery.features.T)
        for level, relevant in gallery.relevant(queries, rows).items():
            for name, distance in distances.items():
                ranked = rank_relevance(distance, relevant, own)
                rankings.setdefault(f"{level}/{name}", []).append(ranking_quality(ranked, KS))
        progress("rank gallery", min(rows.stop, len(queries.listings)), len(queries.listings))
    result: dict[str, Any] = {}
    for name, parts in rankings.items():
        level, _, by = name.partition("/")
        result.setdefault(level, {})[by] = pooled_quality(parts).to_json()
    for level in result.values():
        if "features" in level:
            level["lost_by_hashing"] = level["features"]["mAP"] - level["codes"]["mAP"]
    return result


def search_quality(
    listed: Sequence[Answer], shown: Sequence[Answer], queries: Queries, gallery: Gallery
) -> dict[str, Any]:
    """Quality of the search, cut at `DEPTH` hits.

    Grouping hides repeats on purpose, so precision, recall and mAP count the answers before it (`listed`); whether the
    product was found at all (`success` at product level) counts what a shopper sees (`shown`).
    """
    levels: dict[str, list[tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.int64]]]] = {}
    for rows in gallery.blocks():
        own = gallery.own_pairs(rows)
        for level, relevant in gallery.relevant(queries, rows).items():
            relevant &= ~own
            found = (_relevance(answers[rows], relevant, gallery) for answers in (listed, shown))
            levels.setdefault(level, []).append((*found, relevant.sum(axis=1)))
    result: dict[str, Any] = {}
    for level, blocks in levels.items():
        ranked, seen, total = (np.concatenate(part) for part in zip(*blocks, strict=True))
        quality: RankingQuality = ranking_quality(ranked, KS, total)
        result[level] = quality.to_json()
        if level == "product":
            result[level]["success"] = ranking_quality(seen, KS, total).to_json()["success"]
    opened = [sum(guess.opened for guess in answer.categories) for answer in shown]
    result["categories_opened"] = float(np.mean(opened))
    result["listings_scanned"] = float(np.mean([answer.scanned for answer in shown]))
    return result


def _relevance(answers: Sequence[Answer], relevant: NDArray[np.bool_], gallery: Gallery) -> NDArray[np.bool_]:
    """Relevance of the hits in their order, bool [queries, `DEPTH`]; `relevant` is [queries, gallery]."""
    ranked = np.zeros((len(answers), DEPTH), bool)
    for i, answer in enumerate(answers):
        ranked[i, : len(answer.hits)] = relevant[i, gallery.rows(answer)]
    return ranked


def _answers(
    searcher: Searcher,
    understood: Sequence[EncodedQuery],
    queries: Queries,
    gallery: Gallery,
    progress: Progress,
    stage: str,
    batch: int = 16,
) -> list[Answer]:
    requests = [
        SearchRequest(
            k=DEPTH, exclude=frozenset({listing.listing_id, *gallery.listing_ids[gallery.own(i)].tolist()})
        )
        for i, listing in enumerate(queries.listings)
    ]
    answers: list[Answer] = []
    for start in range(0, len(requests), batch):
        rows = slice(start, start + batch)
        answers += searcher.rank(understood[rows], requests[rows])
        progress(stage, len(answers), len(requests))
    return answers


def _first(searcher: Searcher, understood: Sequence[EncodedQuery], gallery: Gallery) -> list[Answer | None]:
    """The first hit of each query that is another photo of an indexed listing, that listing not left out."""
    answers: list[Answer | None] = []
    for query, row, copies in zip(understood, gallery.itself, gallery.copies, strict=True):
        again = row != NOBODY and row not in copies
        answers.append(searcher.rank([query], [SearchRequest(k=1)])[0] if again else None)
    return answers


def _calibration_error(sure: NDArray[np.floating], correct: NDArray[np.bool_], bins: int = 10) -> float:
    """Expected calibration error (Guo et al. 2017): mean gap between confidence and accuracy over equal bins."""
    if len(sure) == 0:
        return float("nan")
    bucket = np.minimum((sure * bins).astype(int), bins - 1)
    gaps = [
        abs(sure[bucket == b].mean() - correct[bucket == b].mean()) * (bucket == b).sum()
        for b in np.unique(bucket)
    ]
    return float(sum(gaps) / len(sure))
