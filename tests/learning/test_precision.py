"""Arithmetic is asked for where the device has it."""

from __future__ import annotations

import pytest
import torch

from lookalike.learning.precision import has_bf16


def test_a_gpu_that_only_emulates_bfloat16_trains_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a T4 does."""
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert not has_bf16(torch.device("cuda"))
