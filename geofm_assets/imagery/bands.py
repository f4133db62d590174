"""The layers and bands the platform knows, as value objects.

Order, means and standard deviations are those of OlmoEarth's pretraining data (file computed.json
of olmoearth_pretrain_minimal): Sentinel-2 in digital numbers (reflectance x 10,000), Sentinel-1
in dB. The stored order of every layer is the order the encoder expects, so nothing is ever
reordered between the scene and the model.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

SENTINEL2 = "sentinel2_l2a"
SENTINEL1 = "sentinel1"
LayerName = Literal["sentinel2_l2a", "sentinel1"]


@dataclass(frozen=True)
class BandSpec:
    """One band of a layer.

    Attributes:
        name: as the provider names it.
        mean: mean of the encoder's pretraining data, in the layer's unit.
        std: its standard deviation.
        wavelength_nm: centre wavelength, None for radar.
    """

    name: str
    mean: float
    std: float
    wavelength_nm: int | None = None

    @property
    def low(self) -> float:
        """Value that normalises to 0."""
        return self.mean - 2 * self.std

    @property
    def span(self) -> float:
        """Value range that normalises to 0..1."""
        return 4 * self.std


@dataclass(frozen=True)
class LayerSpec:
    """One raster layer: what a stored array of it means.

    Attributes:
        name: rslearn layer name, also the encoder's modality name.
        collection: STAC collection and the name used in items.json.
        bands: in stored order, which is model order.
        dtype: numpy dtype stored.
        nodata: value of a pixel without data.
        unit: what a stored value means.
        scale: reflectance or dB is the stored value times this.
    """

    name: str
    collection: str
    bands: tuple[BandSpec, ...]
    dtype: Literal["uint16", "float32"]
    nodata: float
    unit: str
    scale: float

    @property
    def band_names(self) -> tuple[str, ...]:
        """Names of the bands in stored order."""
        return tuple(band.name for band in self.bands)

    @property
    def lows(self) -> np.ndarray:
        """Per band, the value that normalises to 0; float32 (C,)."""
        return np.array([band.low for band in self.bands], dtype=np.float32)

    @property
    def spans(self) -> np.ndarray:
        """Per band, the value range that normalises to 0..1; float32 (C,)."""
        return np.array([band.span for band in self.bands], dtype=np.float32)

    def is_nodata(self, values: np.ndarray) -> np.ndarray:
        """Where an array of this layer has no data: the nodata value, or not a number."""
        missing: np.ndarray = values == self.nodata
        if values.dtype.kind == "f":
            missing |= ~np.isfinite(values)
        return missing


SENTINEL2_L2A = LayerSpec(
    name=SENTINEL2,
    collection="sentinel-2-l2a",
    bands=(
        BandSpec("B02", 1188.94, 1859.19, 492),
        BandSpec("B03", 1407.77, 1727.74, 560),
        BandSpec("B04", 1513.06, 1740.78, 665),
        BandSpec("B08", 2755.48, 1612.26, 833),
        BandSpec("B05", 1890.99, 1754.73, 704),
        BandSpec("B06", 2483.78, 1622.12, 740),
        BandSpec("B07", 2722.73, 1621.82, 783),
        BandSpec("B8A", 2885.57, 1611.36, 865),
        BandSpec("B11", 2562.85, 1441.55, 1614),
        BandSpec("B12", 1914.14, 1328.89, 2202),
        BandSpec("B01", 1115.85, 1955.70, 443),
        BandSpec("B09", 3269.81, 2651.09, 945),
    ),
    dtype="uint16",
    nodata=0,
    unit="surface reflectance x 10000",
    scale=1e-4,
)

SENTINEL1_RTC = LayerSpec(
    name=SENTINEL1,
    collection="sentinel-1-rtc",
    bands=(BandSpec("vv", -11.65, 10.84), BandSpec("vh", -17.75, 10.22)),
    dtype="float32",
    nodata=-32768.0,
    unit="gamma0 dB",
    scale=1.0,
)

LAYERS: dict[str, LayerSpec] = {layer.name: layer for layer in (SENTINEL2_L2A, SENTINEL1_RTC)}
COLLECTIONS: dict[str, LayerSpec] = {layer.collection: layer for layer in LAYERS.values()}
