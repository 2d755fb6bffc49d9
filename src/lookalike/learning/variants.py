"""A matrix by which photos of one variant lie close together, for a half of the bits about the look.

A *variant* is a product in one main colour, or a listing that states no product. Photos of a variant are to be nearer
to one another than to all others: the supervised contrastive loss (SupCon; Khosla et al., NeurIPS 2020) of a linear
layer over the features of a trunk that stays as it is. Each photo is there twice, with noise, so that one alone has a
fellow, too. `product` alone would unlearn colour. docs/quality.md has what it gains.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812  torch's own usage

from lookalike.catalogue.snapshot import ASPECT_PREFIX
from lookalike.quality.labels import COLOUR_NAMES

_WIDTH = 256
_EPOCHS, _STEPS, _BATCH, _RATE, _DECAY = 60, 2000, 512, 1e-3, 1e-4
"""So many passes, but at most so many steps: ten million photos take as long as twenty thousand."""
_TEMPERATURE = 0.1
_NOISE, _DROPPED = 0.15, 0.2
"""Deviation of what is added to features of deviation 1, and the share of them that is left out."""
_FEWEST = 50
"""Photos that must have a fellow of their variant; of fewer nothing is learned."""


def variants_of(listings: pa.Table) -> Tensor:
    """A number for the variant of each of n listings, int64 [n]."""
    colours = (ASPECT_PREFIX + name for name in COLOUR_NAMES)
    colour = next((name for name in colours if name in listings.column_names), None)
    stated = listings[colour].to_pylist() if colour else [None] * len(listings)
    things = zip(listings["product"].to_pylist(), listings["listing_id"].to_pylist(), stated, strict=True)
    names = [f"{product or listing}\n{(values or [''])[0]}" for product, listing, values in things]
    return torch.from_numpy(np.unique(names, return_inverse=True)[1])


def learned(features: Tensor, variants: Tensor, device: torch.device) -> Tensor | None:
    """The matrix f32 [256, d] for `features` f32 [n, d] of photos of `variants` int64 [n].

    The features may lie on the CPU; the matrix is on `device`. None where too few photos have a fellow. Randomness
    comes from torch's global generator.
    """
    group = torch.from_numpy(np.unique(variants.numpy(), return_inverse=True)[1])
    count = torch.bincount(group)
    if int(count[count > 1].sum()) < _FEWEST:
        return None
    mean, deviation = features.mean(dim=0), features.std()
    layer = nn.Linear(features.shape[1], min(_WIDTH, features.shape[1]), bias=False, device=device)
    nn.init.orthogonal_(layer.weight)
    optimizer = torch.optim.AdamW(layer.parameters(), _RATE, weight_decay=_DECAY)
    batches = -(-len(features) // _BATCH)
    steps, order = min(_EPOCHS * batches, _STEPS), torch.empty(0)
    for step in range(steps):
        if step % batches == 0:  # in a new order, but a variant's photos beside each other
            order = torch.randperm(len(count))[group].argsort(stable=True)
        rows = order[step % batches * _BATCH :][:_BATCH]
        seen = ((features[rows] - mean) / deviation).to(device)
        pair = torch.cat([F.dropout(seen + _NOISE * torch.randn_like(seen), _DROPPED) for _ in range(2)])
        loss = supervised_contrastive(layer(pair), group[rows].repeat(2).to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return layer.weight.detach()


def supervised_contrastive(embeddings: Tensor, labels: Tensor) -> Tensor:
    """The mean over embeddings f32 [n, d] of how unlikely their fellows by `labels` int64 [n] are among all others."""
    unit = F.normalize(embeddings, dim=1)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    likeness = (unit @ unit.T / _TEMPERATURE).masked_fill(itself, -1e9)
    fellows = ((labels[:, None] == labels) & ~itself).float()
    chances = likeness - likeness.logsumexp(dim=1, keepdim=True)
    return -((chances * fellows).sum(dim=1) / fellows.sum(dim=1).clamp(min=1)).mean()
