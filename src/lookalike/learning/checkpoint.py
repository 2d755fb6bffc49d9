"""What a training in progress keeps, so that a killed run ends where an undisturbed one would.

One object in the store holds the whole state after an epoch: weights, optimiser, running average, schedule, and the
metrics so far. It is replaced whole. Reading takes tensors and plain values only (`weights_only`), never pickled code.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

import torch

from lookalike.errors import CorruptObject, ObjectNotFound
from lookalike.storage import keys
from lookalike.storage.objects import ObjectStore


class Checkpoints:
    """The checkpoint of one training, under its id."""

    def __init__(self, store: ObjectStore, training_id: str) -> None:
        self._store, self._key = store, keys.checkpoints(training_id) + "state.pt"

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint by `state`: tensors, numbers, strings, lists, dicts."""
        out = io.BytesIO()
        torch.save(dict(state), out)
        self._store.put(self._key, out.getvalue())

    def load(self) -> dict[str, Any] | None:
        """The last state that was saved, if there is one. Raises `CorruptObject`."""
        try:
            data = self._store.get(self._key)
        except ObjectNotFound:
            return None
        try:
            state: dict[str, Any] = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError, KeyError) as error:
            message = f"{self._store.uri}/{self._key} is damaged; delete it to train from the start"
            raise CorruptObject(self._key, message) from error
        return state

    def clear(self) -> None:
        """Remove the checkpoint; the release is finished."""
        self._store.delete(self._key)
