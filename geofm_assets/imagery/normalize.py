"""From stored pixels to what the encoder reads.

Normalisation is OlmoEarth's: (x - (mean - 2 std)) / (4 std), so a band's mean becomes 0.5 and two
standard deviations either way become 0 and 1. A pixel without data becomes 0.5, the band's mean,
and is marked in the mask; a band the source never has is filled the same way in every pixel and
is listed, so that it says nothing and pretends nothing.
"""

import functools
from dataclasses import dataclass

import numpy as np

from geofm_assets.core.errors import ContractError
from geofm_assets.imagery.bands import LAYERS, LayerSpec

FILL = 0.5
"""Normalised value of a pixel without data: the band's mean."""


@dataclass(frozen=True)
class ModelInput:
    """Normalised pixels and what of them is real.

    Attributes:
        values: float32, shaped as the input; FILL where there is no data.
        valid: bool, shaped as the input: where `values` was measured.
        pixels: bool, the input's shape without the band axis: where every band that is not
            filled throughout was measured.
        filled_bands: bands without a single measured pixel in this input.
    """

    values: np.ndarray
    valid: np.ndarray
    pixels: np.ndarray
    filled_bands: tuple[str, ...]


def layer_of(name: str) -> LayerSpec:
    """A layer by name.

    Raises:
        ContractError: no such layer.
    """
    if name not in LAYERS:
        raise ContractError(f"No layer {name!r}", fix=f"Use one of {', '.join(sorted(LAYERS))}")
    return LAYERS[name]


def valid_pixels(values: np.ndarray, layer: str) -> np.ndarray:
    """Where stored pixels hold data: bool, shaped as the input (..., C, H, W)."""
    spec = layer_of(layer)
    return ~spec.is_nodata(_checked(values, spec))


def normalize(values: np.ndarray, layer: str) -> np.ndarray:
    """Normalised pixels, FILL where there is no data.

    Args:
        values: stored pixels (..., C, H, W) in stored band order; not changed.
        layer: name of the layer.

    Returns:
        A new float32 array of the same shape.

    Raises:
        ContractError: the array does not have the layer's bands.
    """
    spec = layer_of(layer)
    normalised = np.empty(values.shape, np.float32)
    normalize_into(normalised, _checked(values, spec), layer, band_axis=values.ndim - 3)
    return normalised


def normalize_into(
    out: np.ndarray, values: np.ndarray, layer: str, band_axis: int
) -> np.ndarray | None:
    """Normalise into an array at hand; what `normalize` does, bands on any axis.

    Args:
        out: float32, shaped as `values`; need not be contiguous.
        values: stored pixels; not changed.
        layer: name of the layer.
        band_axis: axis of the bands, in stored order.

    Returns:
        Where there was no data, shaped as `values`; None if there was data everywhere.
    """
    spec = LAYERS[layer]
    lows, spans = _factors(layer, band_axis, values.ndim)
    np.copyto(out, values, casting="unsafe")
    out -= lows
    out /= spans
    if _all_measured(values, spec):
        return None
    missing = spec.is_nodata(values)
    np.copyto(out, np.float32(FILL), where=missing)
    return missing


@functools.lru_cache(maxsize=64)
def _factors(layer: str, band_axis: int, axes: int) -> tuple[np.ndarray, np.ndarray]:
    """What is taken off and divided by, shaped to fit; float32."""
    spec, shape = LAYERS[layer], [1] * axes
    shape[band_axis] = len(spec.bands)
    return spec.lows.reshape(shape), spec.spans.reshape(shape)


def _all_measured(values: np.ndarray, spec: LayerSpec) -> bool:
    """Whether it is plain from the extremes that no pixel is without data.

    Cheaper than a mask. Nodata is below everything measured; NaN makes both extremes NaN.
    """
    return bool(values.size and values.min() > spec.nodata and values.max() < np.inf)


def model_input(values: np.ndarray, layer: str) -> ModelInput:
    """Normalised pixels with their masks.

    Args:
        values: stored pixels (..., C, H, W) in stored band order; not changed.
        layer: name of the layer.

    Raises:
        ContractError: the array does not have the layer's bands.
    """
    spec = layer_of(layer)
    valid = valid_pixels(values, layer)
    band_axis = valid.ndim - 3
    seen = np.asarray(valid.any(axis=tuple(a for a in range(valid.ndim) if a != band_axis)))
    names = tuple(
        name for name, present in zip(spec.band_names, seen.tolist(), strict=True) if not present
    )
    used = valid.take(np.flatnonzero(seen), axis=band_axis)
    pixels = np.asarray(used.all(axis=band_axis)) & bool(seen.any())
    return ModelInput(normalize(values, layer), valid, pixels, names)


def _checked(values: np.ndarray, spec: LayerSpec) -> np.ndarray:
    if values.ndim < 3 or values.shape[-3] != len(spec.bands):
        raise ContractError(
            f"{spec.name} has {len(spec.bands)} bands, the array is {values.shape}",
            fix="Give (..., bands, rows, columns) in stored band order",
        )
    return values
