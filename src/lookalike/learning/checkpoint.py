"""What a training in progress keeps, so that a killed run ends where an undisturbed one would.

One object in the store holds the whole state after some step: weights, optimiser, running average, schedule, the place
in the data, and the metrics so far. It is replaced whole, so while one is written, or where one cannot be, the last one
stands. Training goes on while it is written. Reading takes tensors and plain values only (`weights_only`), never
pickled code.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import torch

from lookalike.errors import CorruptObject, ObjectNotFound, StorageError
from lookalike.storage import keys
from lookalike.storage.objects import ObjectStore


class Checkpoints:
    """The checkpoint of one training, under its id."""

    def __init__(self, store: ObjectStore, training_id: str) -> None:
        self._store, self._key = store, keys.checkpoints(training_id) + "state.pt"
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[None] | None = None

    def save(self, state: Mapping[str, Any]) -> None:
        """Replace the checkpoint by `state`: tensors, numbers, strings, lists, dicts.

        Returns as soon as the state is copied; one write goes on at a time. Raises the `StorageError` of the write
        before this one.
        """
        out = io.BytesIO()
        torch.save(dict(state), out)
        self.flush()
        self._written = self._writer.submit(self._put, out)

    def flush(self) -> None:
        """Until the last checkpoint is written. Raises its `StorageError`."""
        written, self._written = self._written, None
        if written is not None:
            written.result()

    def _put(self, out: io.BytesIO) -> None:
        try:
            self._store.put(self._key, out.getvalue())
        except StorageError as error:
            message = f"the checkpoint cannot be written, the one before it stands: {error}"
            raise StorageError(self._key, message) from error

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
        self.flush()
        self._store.delete(self._key)
