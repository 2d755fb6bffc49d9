"""The arithmetic that a device is asked for: bfloat16 where it has instructions for it."""

from __future__ import annotations

import torch


def has_bf16(device: torch.device) -> bool:
    """Whether bfloat16 is faster here than float32: on a GPU that knows it, or a CPU with AVX-512 BF16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())
