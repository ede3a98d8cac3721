"""Pictures of diversity: what each member looks at."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from evoens.diversity.saliency import coloured, unit_maps
from evoens.errors import ShapeError

Pixels = npt.NDArray[np.uint8]

CELL, GAP, LABELS, FONT = 128, 4, 112, 18  # pixels: side of a cell, space between two, width of the labels, letters
INK, PAPER = (40, 40, 40), (255, 255, 255)
CAPTION = "bright: the pixels that a member's likeliest answer hangs on"


def saliency_strip(frames: Tensor, maps: Tensor, labels: Sequence[str]) -> Pixels:
    """Put members under one another: a row of probe frames, then a row of saliency over them for each member.

    Args:
        frames: `(n, c, h, w)`, 0 to 255; of stacked frames the last, newest three channels are shown.
        maps: saliency `(k, n, h, w)`, none negative.
        labels: a short name for each of the k members.

    Returns:
        RGB `(height, width, 3)` uint8.
    """
    if maps.dim() != 4 or maps.shape[1] != len(frames) or len(labels) != len(maps):
        raise ShapeError(
            f"saliency strip: expected maps ({len(labels)}, {len(frames)}, h, w), found {tuple(maps.shape)}"
        )
    shown = newest(frames)
    return sheet([("input", shown), *zip(labels, _over(shown, maps), strict=True)], CAPTION)


def sheet(rows: Sequence[tuple[str, Sequence[Pixels] | Pixels]], caption: str, cell: int = CELL) -> Pixels:
    """Put pictures in rows under a caption, each row behind its label: RGB `(height, width, 3)` uint8.

    rows: labels, and as many pictures for each, `(h, w, 3)` uint8. cell: the side of one on the sheet, in pixels.
    """
    step, top = cell + GAP, FONT + 3 * GAP
    paper = Image.new("RGB", (LABELS + step * len(rows[0][1]), top + step * len(rows)), PAPER)
    draw, font = ImageDraw.Draw(paper), ImageFont.load_default(FONT)
    draw.text((GAP, GAP), caption, INK, font)
    for i, (label, cells) in enumerate(rows):
        y = top + i * step
        draw.text((GAP, y + cell // 2), label, INK, font, anchor="lm")
        for j, picture in enumerate(cells):
            large = Image.fromarray(picture).resize((cell, cell), Image.Resampling.NEAREST)
            paper.paste(large, (LABELS + j * step, y))
    return np.asarray(paper)


def png(picture: Pixels) -> bytes:
    """Return RGB `(height, width, 3)` uint8 as the bytes of a PNG."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def newest(frames: Tensor) -> Pixels:
    """Return the last three channels as RGB, or the last one as grey: `(n, h, w, 3)` uint8."""
    rgb = frames[:, -3:] if frames.shape[1] % 3 == 0 else frames[:, -1:].expand(-1, 3, -1, -1)
    return rgb.permute(0, 2, 3, 1).clamp(0, 255).byte().cpu().numpy()


def _over(frames: Pixels, maps: Tensor) -> Pixels:
    """Lay maps `(k, n, h, w)` over the frames turned grey and dim, opaque where the map is bright."""
    opacity = np.sqrt(unit_maps(maps))[..., None]
    grey = frames.mean(-1, keepdims=True) * 0.5
    blended: Pixels = np.round(opacity * coloured(maps) + (1 - opacity) * grey).astype(np.uint8)
    return blended
