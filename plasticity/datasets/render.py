"""Procedural drawing: textures, shapes and shaded objects in batches, each a pure function of an explicit Generator.

A field is float32 [n, size, size] in 0..1. An image is float32 [n, 3, size, size]: planar, because a field broadcasts
over three whole planes several times faster than over triples. The plane is -1..1 both ways, x to the right, y down.
Draw at twice the size that is wanted and `halve`, so that edges come out smooth.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.random import Generator
from skimage.color import hsv2rgb

BACKGROUNDS = ("noise_pink", "noise_smooth", "noise_cloud", "discs_large", "grating_wide", "mosaic")
BROWN = np.array([0.35, 0.22, 0.10], np.float32).reshape(1, 3, 1, 1)
LUMINANCE = np.array([0.30, 0.59, 0.11], np.float32).reshape(1, 3, 1, 1)
UPRIGHT, LYING, SLANTED = ((angle - 0.15, angle + 0.15) for angle in (0, np.pi / 2, np.pi / 4))  # radians


def uniform(rng: Generator, n: int, low: float, high: float) -> np.ndarray:
    """One number an image, [n, 1, 1]."""
    return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)


def axes(size: int) -> tuple[np.ndarray, np.ndarray]:
    """The pixel centres of the plane, x [1, 1, size] and y [1, size, 1]: only their combination costs a whole field."""
    centres = (np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1
    return centres[None, None, :], centres[None, :, None]


def placed(rng: Generator, n: int, size: int, angle=(0, 2 * np.pi), shift=0.5) -> tuple[np.ndarray, np.ndarray]:
    """x and y [n, size, size] of planes turned by `angle` (radians), zoomed by .8 to 1.25 and shifted at random."""
    x, y = axes(size)
    turn, zoom = uniform(rng, n, *angle), uniform(rng, n, 0.8, 1.25)
    cos, sin = np.cos(turn) / zoom, np.sin(turn) / zoom
    right, down = uniform(rng, n, -shift, shift), uniform(rng, n, -shift, shift)
    return x * cos + right - y * sin, x * sin + down + y * cos


def radius(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Distance from the origin; several times as fast as np.hypot."""
    return np.sqrt(x * x + y * y)


def sinpi(t: np.ndarray) -> np.ndarray:
    """sin(pi t): `sinpi(f * x)` has f periods across the plane."""
    return np.sin(np.float32(np.pi) * t)


def cospi(t: np.ndarray) -> np.ndarray:
    """cos(pi t)."""
    return np.cos(np.float32(np.pi) * t)


def step(x: np.ndarray, sharpness: float = 8.0) -> np.ndarray:
    """A soft step from 0 where x < 0 to 1 where x > 0: the logistic function of sharpness * x."""
    return 0.5 + 0.5 * np.tanh(0.5 * sharpness * x)


# --- Textures ---------------------------------------------------------------------------------------------------------
def drawn(formula: Callable, **placement) -> Callable:
    """A texture from a formula of x and y: function(rng, n, size) that places the plane at random first."""
    return lambda *canvas: formula(*placed(*canvas, **placement))


def noise(rng: Generator, n: int, size: int, alpha: float, stretch: float = 1.0) -> np.ndarray:
    """Gaussian noise with an amplitude spectrum 1/f^alpha, mean 0 and std 1, stretched along a random direction."""
    angle = uniform(rng, n if stretch != 1 else 1, 0, np.pi)
    fy, fx = np.fft.fftfreq(size)[:, None].astype(np.float32), np.fft.rfftfreq(size)[None].astype(np.float32)
    across, along = fy * np.cos(angle) - fx * np.sin(angle), fy * np.sin(angle) + fx * np.cos(angle)
    amplitude = (radius(across * stretch, along / stretch) + 1 / size) ** -alpha
    white = rng.standard_normal((n, size, size), dtype=np.float32)
    field = np.fft.irfft2(np.fft.rfft2(white) * amplitude, s=(size, size))
    field -= field.mean((1, 2), keepdims=True)
    return field / (field.std((1, 2), keepdims=True) + 1e-6)


def voronoi(rng: Generator, n: int, size: int, cells: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of random cells: the distance to the nearest and to the second nearest centre, and a grey of each cell's own."""
    x, y = placed(rng, n, size)
    centres = rng.uniform(-1.7, 1.7, (cells, 2, n, 1, 1)).astype(np.float32)
    greys = rng.random((cells, n, 1, 1), dtype=np.float32)
    nearest, second, grey = np.full_like(x, 9), np.full_like(x, 9), np.zeros_like(x)
    for (centre_x, centre_y), own_grey in zip(centres, greys, strict=True):
        distance = (x - centre_x) ** 2 + (y - centre_y) ** 2
        np.copyto(grey, own_grey, where=distance < nearest)
        np.minimum(second, np.maximum(nearest, distance), out=second)
        np.minimum(nearest, distance, out=nearest)
    return np.sqrt(nearest), np.sqrt(second), grey


def cracks(rng: Generator, n: int, size: int) -> np.ndarray:
    """Thin dark borders between Voronoi cells."""
    nearest, second, _ = voronoi(rng, n, size, cells=22)
    return step(second - nearest - 0.08, 25)


def dead_leaves(rng: Generator, n: int, size: int, count: int, sizes: tuple, square: bool = False) -> np.ndarray:
    """Discs, or (`square`) slabs two by one, dropped one over another; their sizes are log-uniform."""
    x, y = axes(size)
    field = np.zeros((n, size, size), np.float32)
    for _ in range(count):
        from_x, from_y = x - uniform(rng, n, -1.1, 1.1), y - uniform(rng, n, -1.1, 1.1)
        extent = np.exp(uniform(rng, n, *np.log(sizes)))
        if square:
            turn = uniform(rng, n, 0, np.pi)
            covered = np.abs(from_x * np.cos(turn) - from_y * np.sin(turn)) < extent
            covered &= np.abs(from_x * np.sin(turn) + from_y * np.cos(turn)) < extent / 2
        else:
            covered = from_x**2 + from_y**2 < extent**2
        np.copyto(field, uniform(rng, n, 0, 1), where=covered)
    return field


def strokes(rng: Generator, n: int, size: int) -> np.ndarray:
    """Seven soft straight strokes across the whole field."""
    x, y = axes(size)
    field = np.zeros((n, size, size), np.float32)
    for _ in range(7):
        turn, offset = uniform(rng, n, 0, np.pi), uniform(rng, n, -1, 1)
        np.maximum(field, np.exp(-(((x * np.cos(turn) - offset + y * np.sin(turn)) / 0.07) ** 2)), out=field)
    return field


def brick(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Light bricks with dark joints, every other course shifted by half a brick."""
    course = np.floor(3 * y)
    from_centre_x, from_centre_y = np.abs((1.5 * x + 0.5 * (course % 2)) % 1 - 0.5), np.abs(3 * y - course - 0.5)
    return step(0.42 - np.maximum(from_centre_x, from_centre_y), 30)


def weave(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Threads that pass over and under one another, the upright ones lighter."""
    upright_on_top = (np.floor(5 * x) + np.floor(5 * y)) % 2 > 0
    return np.where(upright_on_top, 0.5 + 0.25 * cospi(10 * x), 0.25 - 0.25 * cospi(10 * y))


TEXTURES: dict[str, Callable] = {  # name -> function(rng, n, size), in short function(*canvas) -> field
    "grating_wide": drawn(lambda x, y: 0.5 + 0.5 * sinpi(3 * x)),
    "grating": drawn(lambda x, y: 0.5 + 0.5 * sinpi(6 * x)),
    "grating_fine": drawn(lambda x, y: 0.5 + 0.5 * sinpi(10 * x)),
    "bars": drawn(lambda x, y: step(sinpi(5 * x))),
    "bars_lying": drawn(lambda x, y: step(sinpi(5 * x)), angle=LYING),
    "bars_upright": drawn(lambda x, y: step(sinpi(5 * x)), angle=UPRIGHT),
    "bars_slanted": drawn(lambda x, y: step(sinpi(5 * x)), angle=SLANTED),
    "checks_wide": drawn(lambda x, y: step(sinpi(3 * x) * sinpi(3 * y), 12)),
    "checks_fine": drawn(lambda x, y: step(sinpi(6 * x) * sinpi(6 * y), 12)),
    "plaid": drawn(lambda x, y: (step(sinpi(4 * x)) + step(sinpi(4 * y))) / 2),
    "dots_wide": drawn(lambda x, y: step(cospi(4 * x) + cospi(4 * y) - 0.9)),
    "dots_fine": drawn(lambda x, y: step(cospi(7 * x) + cospi(7 * y) - 0.9)),
    "grid": drawn(lambda x, y: step(np.maximum(cospi(5 * x), cospi(5 * y)) - 0.75, 10)),
    "honeycomb": drawn(lambda x, y: step(cospi(4 * x) + 2 * cospi(2 * x) * cospi(2 * 3**0.5 * y))),
    "brick": drawn(brick, angle=UPRIGHT),
    "weave": drawn(weave),
    "zigzag": drawn(lambda x, y: step(sinpi(5 * (y + 0.35 * np.abs(2 * x % 2 - 1))))),
    "waves": drawn(lambda x, y: step(sinpi(5 * (y + 0.15 * sinpi(3 * x))))),
    "rings": drawn(lambda x, y: 0.5 + 0.5 * sinpi(6 * radius(x, y)), shift=0.7),
    "spiral": drawn(lambda x, y: step(np.sin(4 * np.pi * radius(x, y) + 2 * np.arctan2(y, x))), shift=0.4),
    "rays": drawn(lambda x, y: step(np.sin(7 * np.arctan2(y, x)))),
    "noise_white": lambda *canvas: step(noise(*canvas, alpha=0), 1.3),
    "noise_rough": lambda *canvas: step(noise(*canvas, alpha=0.6), 1.3),
    "noise_pink": lambda *canvas: step(noise(*canvas, alpha=1), 1.3),
    "noise_smooth": lambda *canvas: step(noise(*canvas, alpha=1.5), 1.3),
    "noise_cloud": lambda *canvas: step(noise(*canvas, alpha=2.2), 1.3),
    "streaks": lambda *canvas: step(noise(*canvas, alpha=1, stretch=2.6), 1.3),
    "streaks_smooth": lambda *canvas: step(noise(*canvas, alpha=1.8, stretch=2.6), 1.3),
    "blobs": lambda *canvas: step(noise(*canvas, alpha=2.2)),
    "contours": lambda *canvas: step(np.abs(noise(*canvas, alpha=2)) - 0.35, 10),
    "spots": lambda *canvas: step(noise(*canvas, alpha=2) - 0.7 * noise(*canvas, alpha=0.5) - 1, 6),
    "mosaic": lambda *canvas: voronoi(*canvas, cells=18)[2],
    "cracks": cracks,
    "cells": lambda *canvas: np.minimum(2.2 * voronoi(*canvas, cells=22)[0], 1),
    "cells_fine": lambda *canvas: np.minimum(4 * voronoi(*canvas, cells=60)[0], 1),
    "discs_large": partial(dead_leaves, count=45, sizes=(0.15, 0.5)),
    "discs_small": partial(dead_leaves, count=90, sizes=(0.06, 0.25)),
    "slabs_large": partial(dead_leaves, count=45, sizes=(0.15, 0.5), square=True),
    "slabs_small": partial(dead_leaves, count=90, sizes=(0.06, 0.25), square=True),
    "strokes": strokes,
    "hatch": lambda *canvas: step(sinpi(9 * (placed(*canvas)[0] + 0.1 * noise(*canvas, alpha=2)))),
}


# --- Shapes: about the signed distance to the outline, positive inside ---------------------------------------------
def polygon(corners: int) -> Callable:
    """A regular polygon with a corner at the bottom or the top."""
    sector = 2 * np.pi / corners
    return lambda x, y: 0.72 - radius(x, y) * np.cos((np.arctan2(y, x) + np.pi / 2) % sector - sector / 2)


def star(points: int) -> Callable:
    """A star with rounded points, more of a blossom."""
    return lambda x, y: 0.62 + 0.3 * np.cos(points * np.arctan2(y, x)) - radius(x, y)


def heart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A blunt heart, after the curve (x^2 + y^2 - c)^3 = x^2 y^3."""
    x, up = 1.15 * x, 0.15 - y
    return 0.25 - 3 * ((x**2 + up**2 - 0.55) ** 3 - 1.2 * x**2 * up**3)


def arrow(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """An arrow that points up."""
    shaft = np.minimum(0.25 - np.abs(x), 0.9 - np.abs(y))
    return np.maximum(shaft, np.minimum(0.75 * (y + 0.9) - np.abs(x), -y))


def drop(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A drop with its tip up."""
    return 0.6 - radius(x * (1 + 0.9 * np.clip(0.1 - y, 0, 1.2)), 0.68 * y)


def bar_cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A cross of two bars."""
    x, y = np.abs(x), np.abs(y)
    return np.maximum(np.minimum(0.3 - x, 0.95 - y), np.minimum(0.3 - y, 0.95 - x))


def discs(extent: float, *centres: tuple[float, float]) -> Callable:
    """The union of discs of one radius."""
    return lambda x, y: extent - np.minimum.reduce([radius(x - left, y - top) for left, top in centres])


SHAPES: dict[str, Callable] = {  # name -> function(x, y) -> signed field
    "disc": discs(0.95, (0, 0)),
    "ellipse": lambda x, y: 0.95 - radius(x, 1.8 * y),
    "rectangle": lambda x, y: 0.85 - np.maximum(np.abs(x), 1.8 * np.abs(y)),
    "square": lambda x, y: 0.75 - np.maximum(np.abs(x), np.abs(y)),
    "ring": lambda x, y: 0.25 - np.abs(radius(x, y) - 0.65),
    "cross": bar_cross,
    "crescent": lambda x, y: np.minimum(0.95 - radius(x, y), radius(x - 0.45, y) - 0.75),
    "heart": heart,
    "half_disc": lambda x, y: np.minimum(0.95 - radius(x, y), y),
    "pear": lambda x, y: 0.62 - radius(x * (1 + 0.55 * np.clip(-y, -0.2, 1)), 0.72 * (y - 0.1)),
    "triangle": polygon(3),
    "pentagon": polygon(5),
    "star_4": star(4),
    "star_5": star(5),
    "star_7": star(7),
    "arrow": arrow,
    "pair": discs(0.45, (-0.5, 0), (0.5, 0)),
    "bunch": discs(0.34, (-0.55, -0.45), (0, -0.5), (0.55, -0.45), (-0.3, 0), (0.3, 0), (0, 0.45)),
}


# --- From fields to images --------------------------------------------------------------------------------------------
def halve(images: np.ndarray) -> np.ndarray:
    """The mean of each 2 x 2 block of the last two axes: [..., 2s, 2s] -> [..., s, s]."""
    rows = images[..., ::2, :] + images[..., 1::2, :]
    return (rows[..., ::2] + rows[..., 1::2]) / 4


def colour(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """RGB [n, 3, 1, 1] of hues (in turns, any real number), saturations and values, each [n, 1, 1]."""
    return hsv2rgb(np.stack([hue % 1, saturation, value], -1)).reshape(-1, 3, 1, 1).astype(np.float32)


def paint(rng: Generator, field: np.ndarray, contrast: float = 0.25, grey: float = 0.25) -> np.ndarray:
    """Images of fields in two random colours that differ by `contrast` in luminance; in a share `grey`, two greys."""
    shape = (len(field), 3, 1, 1)
    a, b = rng.random(shape, dtype=np.float32), rng.random(shape, dtype=np.float32)

    def too_close():
        return np.abs(((a - b) * LUMINANCE).sum(1, keepdims=True)) < contrast

    b = np.where(too_close(), 1 - a, b)
    away_from_a = np.clip(a + 0.5 * np.sign(0.5 - a.mean(1, keepdims=True)), 0, 1)
    b = np.where(too_close(), away_from_a, b)
    greys = rng.random((len(field), 1, 1, 1)) < grey
    a, b = (np.where(greys, c.mean(1, keepdims=True), c) for c in (a, b))
    return field[:, None] * (a - b) + b


def background(rng: Generator, n: int, size: int) -> np.ndarray:
    """Images of six low-contrast kinds, as many of each, in random order: nothing in them tells what goes on top."""
    each = -(-n // len(BACKGROUNDS))
    fields = np.concatenate([TEXTURES[name](rng, each, size) for name in BACKGROUNDS])
    fields = fields[rng.permutation(len(fields))[:n]]
    return 0.8 * paint(rng, fields, contrast=0.1) + 0.1 * rng.random((n, 3, 1, 1), dtype=np.float32)


def cover(images: np.ndarray, mask: np.ndarray, paint_over: np.ndarray) -> None:
    """Lay a colour [n, 3, 1, 1], or other images, over images in place where the mask, a field, is 1."""
    images += mask[:, None] * (paint_over - images)


def object_on_background(
    rng: Generator,
    n: int,
    size: int,
    shape: Callable,
    hue: float | None = None,
    skin: Callable | None = None,
    shaded: bool = True,
    stem: bool = False,
    leaf: bool = False,
    turn: float = 0.6,
    scale=(0.5, 0.85),
) -> np.ndarray:
    """Images of one object: a shape with a colour, a surface, a place, a size and a tilt drawn for each.

    hue: in turns, with a jitter of .03; None draws any hue. skin: a texture in a second, darker colour. turn: largest
    tilt in radians. scale: smallest and largest size, 1 filling the frame.
    """
    x, y = axes(size)
    tilt, extent = uniform(rng, n, -turn, turn), uniform(rng, n, *scale)
    x, y = x - uniform(rng, n, -0.3, 0.3), y - uniform(rng, n, -0.3, 0.3)
    aspect, cos, sin = uniform(rng, n, 0.88, 1.14), np.cos(tilt) / extent, np.sin(tilt) / extent
    x, y = (x * cos + y * sin) * aspect, y * cos - x * sin
    images = background(rng, n, size)

    hues = uniform(rng, n, 0, 1) if hue is None else hue + rng.normal(0, 0.03, (n, 1, 1))
    body = colour(hues, uniform(rng, n, 0.55, 1), uniform(rng, n, 0.55, 1))
    if skin is not None:
        pattern = skin(rng, n, size)
        hues = hues + uniform(rng, n, 0.05, 0.2) * (1 if hue is None else 0.5)
        dark = colour(hues, uniform(rng, n, 0.55, 1), uniform(rng, n, 0.15, 0.5))
        body = pattern[:, None] * (body - dark) + dark
    if shaded:
        light_x, light_y = uniform(rng, n, -0.6, 0.6), uniform(rng, n, -0.8, 0)
        shade = np.clip(1.05 - 0.55 * ((x - light_x) ** 2 + (y - light_y) ** 2), 0.35, 1.1)
        gloss = np.exp(((x - 0.8 * light_x) ** 2 + (y - 0.8 * light_y) ** 2) / -0.04) * uniform(rng, n, 0, 0.5)
        body = body * shade[:, None] + gloss[:, None]
    cover(images, step(shape(x, y), 18), body)
    if stem:
        bent = step(0.09 - np.abs(x - 0.1 * (y + 0.9)), 30)
        cover(images, bent * step(-0.5 - y, 20) * step(y + 1.25, 20), BROWN)
    if leaf:
        blade = step(0.22 - radius(0.6 * (x - 0.3), 1.5 * (y + 0.85)), 25)
        green = colour(0.32 + uniform(rng, n, -0.03, 0.03), uniform(rng, n, 0.6, 0.9), uniform(rng, n, 0.4, 0.7))
        cover(images, blade, green)
    return images


def finish(rng: Generator, images: np.ndarray) -> np.ndarray:
    """What a camera adds: light up to 25% uneven, contrast of .7 to 1.15, noise of std up to .05; in 0..1."""
    n, size = len(images), images.shape[-1]
    x = y = np.linspace(-1, 1, size, dtype=np.float32)
    light = 1 + uniform(rng, n, -0.25, 0.25) * x + uniform(rng, n, -0.25, 0.25) * y[:, None]
    contrast = uniform(rng, n, 0.7, 1.15)[:, None]
    grain = rng.standard_normal(images.shape, dtype=np.float32) * uniform(rng, n, 0, 0.05)[:, None]
    return np.clip((images * light[:, None] - 0.5) * contrast + 0.5 + grain, 0, 1)
