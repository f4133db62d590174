"""Which layers of a source are which modality, and which bands it has of it.

A layer counts by its name (`sentinel2`, `sentinel2_l2a`, `pre_sentinel2`, `sentinel1_ascending`).
Layers of one modality are one series in time. Bands get the names and the order models know.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from rslearn.config import LayerConfig, LayerType

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.ingest.options import IngestOptions
from geofm_assets.evaluation.ingest.report import Fact, Finding
from geofm_assets.evaluation.samples.part_file import ModalityLayout
from geofm_assets.imagery.bands import SENTINEL1, SENTINEL1_RTC, SENTINEL2, SENTINEL2_L2A

LANDSAT = "landsat"
_PREFIXES = ("pre_", "post_")
_FOREIGN = ("l1c",)  # top-of-atmosphere reflectance is another modality than surface reflectance
_OTHERS = ("label", "labels", "label_raster", "output", "prediction", "predictions")
_PADDED = re.compile(r"^B0+(?=[0-9])")


@dataclass(frozen=True)
class Modality:
    """A modality we know: what layers of it are called, its bands in model order, its nodata."""

    aliases: tuple[str, ...]
    bands: tuple[str, ...]
    nodata: float


# Landsat: order and nodata of OlmoEarth's pretraining data (Collection 2, digital numbers).
MODALITIES: Mapping[str, Modality] = {
    SENTINEL2: Modality(
        ("sentinel2_l2a", "sentinel2"), SENTINEL2_L2A.band_names, SENTINEL2_L2A.nodata
    ),
    SENTINEL1: Modality(("sentinel1",), SENTINEL1_RTC.band_names, SENTINEL1_RTC.nodata),
    LANDSAT: Modality(
        ("landsat", "landsat8", "landsat9"),
        ("B8", "B1", "B2", "B3", "B4", "B5", "B6", "B7", "B9", "B10", "B11"),
        0.0,
    ),
}


@dataclass(frozen=True)
class ModalityPlan:
    """How one modality is read.

    Attributes:
        name: one of MODALITIES.
        layers: of the source, in order.
        picks: by layer, which of its bands (all band sets joined) give `layout.bands`.
        layout: how it is stored.
        linear: the source is linear power and is turned into dB.
    """

    name: str
    layers: tuple[str, ...]
    picks: Mapping[str, tuple[int, ...]]
    layout: ModalityLayout
    linear: bool = False


def resolve_modality(layer: str) -> str | None:
    """The modality of a layer's name, None if it is none we know."""
    name = layer.lower()
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    if any(part in _FOREIGN for part in name.split("_")):
        return None
    while name:
        for modality, known in MODALITIES.items():
            if name in known.aliases:
                return modality
        name = name.rpartition("_")[0]
    return None


def infer_modalities(
    layers: Mapping[str, LayerConfig], options: IngestOptions
) -> tuple[dict[str, ModalityPlan], list[Fact]]:
    """The modalities of a source.

    Args:
        layers: of its configuration.
        options: `modalities` keeps some of them.

    Raises:
        DatasetError: there is none, one asked for is not there, or a band is not known.
    """
    found: dict[str, list[str]] = {}
    facts = []
    for name, layer in layers.items():
        modality = resolve_modality(name) if layer.type == LayerType.RASTER else None
        if modality is not None:
            found.setdefault(modality, []).append(name)
        elif layer.data_source is not None:
            facts.append(Fact("left out", name, "no modality is known by this layer's name"))
    for asked in options.modalities or ():
        if asked in layers and resolve_modality(asked) is None:
            raise DatasetError(
                f"Layer {asked} is of no known modality",
                where="--modalities",
                fix=_rename(),
            )
        if asked not in found:
            known = ", ".join(found) or "none"
            raise DatasetError(
                f"The dataset has no modality {asked}",
                where="--modalities",
                fix=f"Its layers give {known}; modalities are called {', '.join(MODALITIES)}",
            )
    chosen = {n: v for n, v in found.items() if not options.modalities or n in options.modalities}
    if not chosen:
        raise DatasetError(
            "No layer is of a known modality",
            where=f"config.json, layers {', '.join(layers)}",
            fix=f"Name raster layers after their modality: {', '.join(MODALITIES)}",
        )
    plans = {}
    for modality in sorted(chosen):
        plan = _plan(modality, chosen[modality], layers, options)
        plans[modality] = plan
        facts.append(Fact("modality", modality, f"layers {', '.join(plan.layers)}"))
        facts.append(Fact(f"bands of {modality}", " ".join(plan.layout.bands), "config.json"))
        absent = [b for b in MODALITIES[modality].bands if b not in plan.layout.bands]
        if absent:
            facts.append(Fact(f"bands {modality} lacks", " ".join(absent), "config.json"))
    return plans, facts


def unknown_layers(
    layers: Mapping[str, LayerConfig], label: str | None, options: IngestOptions
) -> list[Finding]:
    """Raster layers that are left out because their name says no modality; a warning each.

    Args:
        layers: of the source's configuration.
        label: the layer of the labels; None if it cannot be told, any without a source then is.
        options: with `modalities`, what to leave out was said.
    """
    if options.modalities is not None:
        return []
    unknown = [
        name
        for name, layer in layers.items()
        if layer.type == LayerType.RASTER
        and resolve_modality(name) is None
        and name not in (label, *_OTHERS)
        and (label is not None or layer.data_source is not None)
    ]
    fix = f"{_rename()}; or say with --modalities which to keep"
    return [
        Finding("warning", f"Layer {n} is of no known modality and left out", "config.json", fix)
        for n in unknown
    ]


def _rename() -> str:
    return (
        "To have it read, name it after its modality in config.json and in the layers folder of "
        f"every window: modalities are {', '.join(MODALITIES)}"
    )


def _plan(
    modality: str, names: list[str], layers: Mapping[str, LayerConfig], options: IngestOptions
) -> ModalityPlan:
    by_key = {_key(band): band for band in MODALITIES[modality].bands}
    bands: dict[str, list[str]] = {}
    for name in names:
        written = [band for bands_ in layers[name].band_sets for band in bands_.bands]
        unknown = [band for band in written if _key(band) not in by_key]
        if unknown:
            raise DatasetError(
                f"{modality} has no band {', '.join(unknown)}",
                where=f"config.json, layer {name}",
                fix=f"Its bands are {', '.join(by_key.values())}; leave the modality out with "
                "--modalities, or correct the names",
            )
        bands[name] = [by_key[_key(band)] for band in written]
        twice = sorted({b for b in bands[name] if bands[name].count(b) > 1})
        if twice:
            raise DatasetError(
                f"Band {twice[0]} is there twice", where=f"config.json, layer {name}"
            )
    common = tuple(b for b in by_key.values() if all(b in held for held in bands.values()))
    if not common:
        raise DatasetError(
            f"The layers of {modality} have no band in common",
            where=f"config.json, layers {', '.join(names)}",
            fix="Leave the modality out with --modalities",
        )
    linear = modality == SENTINEL1 and options.sentinel1_unit == "linear"
    picks = {name: tuple(bands[name].index(b) for b in common) for name in names}
    layout = _layout(modality, common, names, layers)
    if linear:
        layout = ModalityLayout(common, "float32", MODALITIES[modality].nodata)
    return ModalityPlan(modality, tuple(names), picks, layout, linear)


def _layout(
    modality: str, bands: tuple[str, ...], names: list[str], layers: Mapping[str, LayerConfig]
) -> ModalityLayout:
    """The source's own dtype and nodata; the modality's where it declares none."""
    sets = [bands_ for name in names for bands_ in layers[name].band_sets]
    dtype = np.result_type(*(np.dtype(s.dtype.get_numpy_dtype()) for s in sets))
    if dtype.kind == "f":
        dtype = np.dtype(np.float32)
    declared = [s.nodata_value for s in sets if s.nodata_value is not None]
    nodata: float | None = float(declared[0]) if declared else MODALITIES[modality].nodata
    if nodata is not None and not np.isfinite(nodata):
        nodata = None  # NaN never is data
    if dtype.kind in "ui" and nodata is not None:
        held = np.iinfo(dtype)
        if not held.min <= nodata <= held.max:
            raise DatasetError(
                f"nodata_value {nodata:g} does not fit into {dtype}",
                where=f"config.json, layers {', '.join(names)}",
                fix="Correct nodata_value or dtype",
            )
    return ModalityLayout(bands, dtype.name, nodata)


def _key(band: str) -> str:
    """`b02`, `B2` and `B02` are one band; so are `VV` and `vv`."""
    return _PADDED.sub("B", band.upper())
