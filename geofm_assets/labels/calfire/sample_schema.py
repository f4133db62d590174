"""The table of samples: which fire a reference point belongs to, and what kind it is."""

from typing import Annotated

import pandas as pd
import pandera.pandas as pp
import pyarrow as pa

from geofm_assets.core.schema import TableModel

BURNT, RING, FAR = "burnt", "ring", "far"
KINDS = (BURNT, RING, FAR)
CLASSES = ["unburnt", "burnt"]
"""Class names in the order of their ids, of points and of mask pixels."""
LABELS = {BURNT: "burnt", RING: "unburnt", FAR: "unburnt"}
"""`label_raw` of each kind."""
UNDATED, TOO_SMALL, TOO_WIDE = "undated", "too_small", "too_wide"
NO_UTM, NO_ROOM = "no_utm_zone", "no_room"
"""With these, reasons why a fire gives no sample."""

SAMPLE = pa.schema(
    [
        ("sample_id", pa.string()),
        ("fire_id", pa.string()),
        ("group_id", pa.string()),
        ("kind", pa.string()),
        ("fire_year", pa.int64()),
        ("distance_m", pa.float64()),
        ("area_ha", pa.float64()),
        ("stratum", pa.string()),
        ("lon", pa.float64()),
        ("lat", pa.float64()),
        ("valid_time", pa.date32()),
        ("simulated", pa.bool_()),
    ]
)
"""Side table of the reference points of a fire year. Sorted by sample_id.

`distance_m` is to the edge of the fire's perimeter, from inside or outside; `area_ha` is the
fire's; `stratum` says which land cover or region a far sample was drawn from. `group_id` is what
may not be parted by a split: the fire's complex, or the fire; a far sample is a group of its own.
"""

_String = Annotated[pd.ArrowDtype, pa.string()]
_Float = Annotated[pd.ArrowDtype, pa.float64()]


class Sample(TableModel):
    """One sample of a fire year."""

    sample_id: _String = pp.Field(unique=True, str_length={"min_value": 1})
    fire_id: _String = pp.Field(nullable=True)
    group_id: _String = pp.Field(str_length={"min_value": 1})
    kind: _String = pp.Field(isin=KINDS)
    fire_year: Annotated[pd.ArrowDtype, pa.int64()] = pp.Field(ge=1800, le=2200)
    distance_m: _Float = pp.Field(nullable=True, ge=0)
    area_ha: _Float = pp.Field(nullable=True, ge=0)
    stratum: _String = pp.Field(nullable=True)
    lon: _Float = pp.Field(ge=-180, le=180)
    lat: _Float = pp.Field(ge=-80, le=84)
    valid_time: Annotated[pd.ArrowDtype, pa.date32()]
    simulated: Annotated[pd.ArrowDtype, pa.bool_()]

    @pp.dataframe_check(name="a far sample has a stratum, any other a fire")
    @classmethod
    def _of_its_kind(cls, frame: pd.DataFrame) -> pd.Series:
        """What is known of a sample follows from its kind."""
        far = frame["kind"] == FAR
        fire = frame[["fire_id", "distance_m", "area_ha"]].notna()
        return (fire.all(axis=1) & ~far) | (~fire.any(axis=1) & far & frame["stratum"].notna())
