"""How much of a network noise can reach: the share of its weights that may be perturbed, and the layers left alone."""

from __future__ import annotations

from evoens.parent import Parent

SMALL = 0.5  # a share below which a run warns
SHOWN = 4  # layers that are left alone, in a sentence


def reach(parent: Parent) -> tuple[float, str]:
    """Return the share of the parent's weights that a Strategy may perturb, and a sentence about it.

    Named are the largest layers that are left alone: recurrent ones, embeddings, `in_proj_weight` of attention and
    whatever else is neither a convolution nor linear; biases and normalisation go without saying.
    """
    counts = {name: value.numel() for name, value in parent.module.named_parameters()}
    whole, reached = sum(counts.values()), sum(counts[name] for name in parent.perturbed)
    alone: dict[str, int] = {}
    for name, layer in parent.module.named_modules():
        own = {f"{name}.{key}" if name else key: value for key, value in layer.named_parameters(recurse=False)}
        left = sum(counts.get(key, 0) for key, value in own.items() if value.dim() > 1 and key not in parent.perturbed)
        if left:
            alone[f"{name or 'the network'} ({type(layer).__name__}, {left / whole:.1%})"] = left
    largest = sorted(alone, key=lambda label: -alone[label])
    share = reached / whole
    text = f"noise may fall on {share:.1%} of the weights, those of convolutions and linear layers"
    if largest:
        more = f" and {len(largest) - SHOWN} more" if len(largest) > SHOWN else ""
        text += f"; it leaves alone {', '.join(largest[:SHOWN])}{more}"
    return share, text
