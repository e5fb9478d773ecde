"""Pictures as a camera would see them again: from a print, or from a screen. Plain functions over pixels.

They imitate what such attacks have in common; they are no recordings of attacks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(height, width, 3) RGB."""
Floats = NDArray[np.float32]


def printed(picture: Pixels, seed: int) -> Pixels:
    """A print on paper: a halftone of the printer, less contrast, the paper's colour, a soft focus."""
    noise = np.random.default_rng(seed)
    large = _grown(picture, 3)
    rows, columns = np.mgrid[0 : large.shape[0], 0 : large.shape[1]].astype(np.float32)
    angles = np.radians([15, 75, 45])
    screens = [
        np.sin((columns * np.cos(a) + rows * np.sin(a)) * 1.6)
        * np.sin((rows * np.cos(a) - columns * np.sin(a)) * 1.6)
        for a in angles
    ]
    halftone = large + 26 * np.stack(screens, axis=2)
    paper = 30 + 0.78 * halftone * np.array([1.0, 0.98, 0.93], np.float32)
    return _seen(paper, picture.shape, blur=1.6, noise=noise)


def on_paper(picture: Pixels, seed: int) -> Pixels:
    """The same print held up in a room: its edges are seen, and what is behind it."""
    sheet = printed(picture, seed)
    return _held(sheet, frame=0, shade=(225, 222, 214), seed=seed)


def screened(picture: Pixels, seed: int) -> Pixels:
    """A screen: its grid of pixels against that of the camera (moire), its gamma and blue light, a glare."""
    noise = np.random.default_rng(seed)
    large = _grown(picture, 3)
    rows, columns = np.mgrid[0 : large.shape[0], 0 : large.shape[1]].astype(np.float32)
    grid = 1 + 0.10 * np.sin(columns * 2.05 + rows * 0.04) + 0.08 * np.sin(rows * 2.10 - columns * 0.03)
    bright = 255 * (np.clip(large, 0, 255) / 255) ** 0.85 * grid[..., None]
    bright = bright * np.array([0.94, 1.0, 1.08], np.float32) + 10
    y, x = noise.uniform(0.1, 0.5), noise.uniform(0.1, 0.9)
    height, width = large.shape[:2]
    glare = np.exp(-(((columns / width - x) / 0.18) ** 2 + ((rows / height - y) / 0.22) ** 2))
    return _seen(bright + 45 * glare[..., None], picture.shape, blur=0.8, noise=noise)


def on_telephone(picture: Pixels, seed: int) -> Pixels:
    """The same screen with its bezel, held up in a room."""
    return _held(screened(picture, seed), frame=8, shade=(18, 18, 20), seed=seed)


ATTACKS: Mapping[str, Callable[[Pixels, int], Pixels]] = {
    "print, filling the picture": printed,
    "print, held up": on_paper,
    "screen, filling the picture": screened,
    "telephone, held up": on_telephone,
}
"""What is made of each picture."""


def _grown(picture: Pixels, times: int) -> Floats:
    grown = cv2.resize(picture, None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
    return np.asarray(grown, np.float32)


def _seen(
    large: NDArray[np.floating], shape: tuple[int, ...], *, blur: float, noise: np.random.Generator
) -> Pixels:
    """What the camera makes of it: out of focus a little, at the old size, with its own noise."""
    soft = cv2.GaussianBlur(np.asarray(large, np.float32), (0, 0), blur)
    small = cv2.resize(soft, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
    grainy = np.asarray(small, np.float32) + noise.normal(0, 2.5, small.shape)
    return np.asarray(np.clip(grainy, 0, 255), np.uint8)


def _held(sheet: Pixels, *, frame: int, shade: tuple[int, int, int], seed: int) -> Pixels:
    """A sheet before a room, somewhat aslant; frame: of its edge, in hundredths of its side."""
    noise = np.random.default_rng(seed)
    edge = max(sheet.shape[1] * frame // 100, 3)
    bordered = cv2.copyMakeBorder(sheet, edge, edge, edge, edge, cv2.BORDER_CONSTANT, value=shade)
    size = int(1.5 * max(bordered.shape[:2]))
    light = np.linspace(95, 150, size, dtype=np.float32)[:, None, None]
    room = light * np.array([1.0, 0.96, 0.9], np.float32)
    canvas = np.broadcast_to(room, (size, size, 3)).astype(np.uint8).copy()
    outer = np.array(
        [(0, 0), (bordered.shape[1], 0), (bordered.shape[1], bordered.shape[0]), (0, bordered.shape[0])],
        np.float32,
    )
    offset = np.array([(size - bordered.shape[1]) / 2, (size - bordered.shape[0]) / 2], np.float32)
    target = (outer + offset + noise.uniform(-0.03, 0.03, (4, 2)) * size).astype(np.float32)
    warp = cv2.getPerspectiveTransform(outer, target)
    cv2.warpPerspective(bordered, warp, (size, size), dst=canvas, borderMode=cv2.BORDER_TRANSPARENT)
    return np.asarray(canvas, np.uint8)
