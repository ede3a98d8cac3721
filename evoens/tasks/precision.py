"""In which precision networks are trained: the setting, or what the processor computes in; no clock decides."""

from __future__ import annotations

import torch

CPU = torch.device("cpu")


def precision_of(setting: str, device: torch.device = CPU) -> str:
    """Return `float32` or `bfloat16`.

    Args:
        setting: one of the two, or `auto`: bfloat16 where the processor or card multiplies matrices in it, else
            float32. Elsewhere torch imitates bfloat16, at a tenth of the speed of float32.
        device: where it is trained.
    """
    return ("bfloat16" if _native(device) else "float32") if setting == "auto" else setting


def _native(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
