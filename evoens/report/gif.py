"""Frames of a game as an animated GIF of bounded length and size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from evoens.errors import ProblemError
from evoens.storage.files import write_atomic

Frames = Sequence[NDArray[np.uint8]]

LONGEST = 240  # frames of a GIF; a longer game is shown faster
LARGEST = 1_500_000  # bytes of a GIF
COLOURS = 128
LAST_SHOWN = 1500  # milliseconds that the last frame stays
LINE = 18  # pixels a line of the caption takes


def gif(frames: Frames, path: Path, *, fps: float = 15, scale: int = 4, caption: str = "") -> Path:
    """Write `frames`, `(h, w, 3)` each, as a GIF that repeats for ever, and return its path.

    At most 240 frames are kept, and at most 1.5 MB: a longer game is shown faster, by a whole factor that the caption
    names. The last frame always is the game's last.

    Args:
        frames: at least one, all of one shape.
        path: where to write; its folder is there.
        fps: frames per second.
        scale: pixels on the screen for one of the frame's, each way.
        caption: lines below the picture.

    Raises:
        ProblemError: there is no frame.
    """
    if not frames:
        raise ProblemError("a GIF: expected at least one frame, found none")
    speed = math.ceil(len(frames) / LONGEST)
    data = _encoded(_every(frames, speed, scale, caption), fps)
    while len(data) > LARGEST and speed < len(frames):
        speed = max(speed + 1, math.ceil(speed * len(data) / LARGEST))
        data = _encoded(_every(frames, speed, scale, caption), fps)
    write_atomic(path, data)
    return path


def _every(frames: Frames, speed: int, scale: int, caption: str) -> list[Image.Image]:
    """Return every `speed`-th frame, and the last, as a picture above the caption."""
    if caption and speed > 1:
        caption += f", {speed} times as fast"
    height, width = frames[0].shape[0] * scale, frames[0].shape[1] * scale
    empty = _below(height, width, caption)
    pictures = []
    for frame in (*frames[: len(frames) - 1 : speed], frames[-1]):
        picture = empty.copy()
        picture.paste(Image.fromarray(frame).resize((width, height), Image.Resampling.NEAREST))
        pictures.append(picture)
    return pictures


def _below(height: int, width: int, caption: str) -> Image.Image:
    """Return a black picture with the caption's lines below the given height."""
    lines = caption.splitlines()
    picture = Image.new("RGB", (width, height + LINE * len(lines)))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for i, line in enumerate(lines):
        draw.text((4, height + LINE * i + 2), line, fill="white", font=font)
    return picture


def _encoded(pictures: Sequence[Image.Image], fps: float) -> bytes:
    pictures, file = _one_palette(pictures), BytesIO()
    durations = [round(1000 / fps)] * (len(pictures) - 1) + [LAST_SHOWN]
    options = {"duration": durations, "loop": 0, "optimize": True, "disposal": 1}
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], **options)
    return file.getvalue()


def _one_palette(pictures: Sequence[Image.Image]) -> list[Image.Image]:
    """Reduce all to the same colours, without dithering, so that what does not move costs nothing."""
    sample = pictures[:: math.ceil(len(pictures) / 12)]
    width, height = sample[0].size
    montage = Image.new("RGB", (width, height * len(sample)))
    for i, picture in enumerate(sample):
        montage.paste(picture, (0, height * i))
    palette = montage.quantize(COLOURS, dither=Image.Dither.NONE)
    return [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
