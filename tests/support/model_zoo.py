"""Networks of three libraries, with random weights, as a user's own file would name them."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

CLASSES = 5

TORCHVISION = {
    **dict.fromkeys(("mobilenet_v3_large", "squeezenet1_1", "resnet18", "shufflenet_v2_x0_5", "mobilenet_v2"), 64),
    **dict.fromkeys(("mobilenet_v3_small", "mnasnet0_5", "efficientnet_b0", "regnet_y_400mf", "densenet121"), 64),
    **dict.fromkeys(("googlenet", "convnext_tiny", "swin_t"), 64),
}
TIMM = {
    **dict.fromkeys(("resnet10t", "efficientnet_lite0", "mobilenetv3_small_050", "ghostnet_050", "repvgg_a0"), 64),
    **dict.fromkeys(("regnetx_002", "dla46_c", "skresnet18", "resnest14d", "nf_regnet_b0", "test_nfnet"), 64),
    **dict.fromkeys(("convnext_atto", "inception_next_atto", "mobileone_s0", "lcnet_035", "edgenext_xx_small"), 64),
    **dict.fromkeys(("repvit_m0_9", "poolformer_s12", "mobilevit_xxs", "test_vit"), 160),
}
SMALL = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48, "image_size": 32}
STAGES = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 12, 16, 24]}
WINDOWS = {"depths": [2, 2], "num_heads": [2, 2], "window_size": 4}
TRANSFORMERS: dict[str, dict[str, Any]] = {
    **{key: {**SMALL, "patch_size": 8} for key in ("ViT", "DeiT", "Beit")},
    "Swin": {**WINDOWS, "image_size": 32, "patch_size": 4, "embed_dim": 12},
    "ResNet": {**STAGES, "embedding_size": 8, "layer_type": "basic"},
    "ConvNext": STAGES,
    "MobileNetV2": {"depth_multiplier": 0.25},
}  # fmt: skip

MODELS = [
    *(("torchvision", name, side) for name, side in TORCHVISION.items()),
    *(("timm", name, side) for name, side in TIMM.items()),
    *(("transformers", name, 32) for name in TRANSFORMERS),
]


class Logits(nn.Module):
    """What a model of transformers says of pictures, without the names."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Tensor) -> Tensor:
        """`(n, 3, h, w)` to `(n, classes)`."""
        return self.model(pixel_values).logits  # type: ignore[no-any-return]


def build(library: str, name: str) -> nn.Module:
    """Return a model whose state dict is still to be loaded."""
    if library == "torchvision":
        import torchvision

        more = {"init_weights": False, "aux_logits": False} if name == "googlenet" else {}
        return torchvision.models.get_model(name, num_classes=CLASSES, **more)
    if library == "timm":
        import timm

        return timm.create_model(name, num_classes=CLASSES)
    import transformers

    config = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **TRANSFORMERS[name])
    return Logits(getattr(transformers, f"{name}ForImageClassification")(config))
