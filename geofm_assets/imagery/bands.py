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
        BandSpec("B02", 1188.9412572078477, 1859.1923971769581, 492),
        BandSpec("B03", 1407.7739105458452, 1727.7387413631088, 560),
        BandSpec("B04", 1513.0573882432757, 1740.7757298757895, 665),
        BandSpec("B08", 2755.481305028308, 1612.2565699990187, 833),
        BandSpec("B05", 1890.9893042634167, 1754.7320388511766, 704),
        BandSpec("B06", 2483.7812315422448, 1622.1172720635755, 740),
        BandSpec("B07", 2722.728248756412, 1621.8226170190276, 783),
        BandSpec("B8A", 2885.570263047681, 1611.3587521042082, 865),
        BandSpec("B11", 2562.852607796968, 1441.5471830655151, 1614),
        BandSpec("B12", 1914.1383249044113, 1328.8914382756407, 2202),
        BandSpec("B01", 1115.8494388252218, 1955.6991794280914, 443),
        BandSpec("B09", 3269.812554170875, 2651.088425085525, 945),
    ),
    dtype="uint16",
    nodata=0,
    unit="surface reflectance x 10000",
    scale=1e-4,
)

SENTINEL1_RTC = LayerSpec(
    name=SENTINEL1,
    collection="sentinel-1-rtc",
    bands=(
        BandSpec("vv", -11.648990747328444, 10.840350299936597),
        BandSpec("vh", -17.745436133270044, 10.216274681392647),
    ),
    dtype="float32",
    nodata=-32768.0,
    unit="gamma0 dB",
    scale=1.0,
)

LAYERS: dict[str, LayerSpec] = {layer.name: layer for layer in (SENTINEL2_L2A, SENTINEL1_RTC)}
COLLECTIONS: dict[str, LayerSpec] = {layer.collection: layer for layer in LAYERS.values()}
