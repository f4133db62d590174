"""Band statistics in fixed memory agree with numpy's."""

import numpy as np
import pyarrow as pa
import pytest

from geofm_assets.core.schema import validate
from geofm_assets.imagery.bands import SENTINEL1_RTC, SENTINEL2_L2A
from geofm_assets.imagery.schema import BAND_STATS, BandStats
from geofm_assets.imagery.statistics import BandHistogram

CELL = "831e94fffffffff"


@pytest.fixture
def reflectance() -> np.ndarray:
    values = np.random.default_rng(0).integers(0, 5000, (20, 12, 9, 9)).astype(np.uint16)
    values[:, 3] = 0
    return values


def test_whole_numbers_are_counted_exactly(reflectance: np.ndarray) -> None:
    histogram = BandHistogram(SENTINEL2_L2A)
    for part in np.split(reflectance, 4):
        histogram.add(part)
    row = histogram.rows(CELL)[0]
    valid = reflectance[:, 0][reflectance[:, 0] > 0]
    assert row["count"] == valid.size
    assert row["median"] == np.percentile(valid, 50, method="inverted_cdf")
    assert row["p98"] == np.percentile(valid, 98, method="inverted_cdf")
    assert row["mean"] == pytest.approx(valid.mean())


def test_decibels_are_off_by_less_than_a_hundredth() -> None:
    values = np.random.default_rng(0).normal(-11, 4, (6, 2, 30, 30)).astype(np.float32)
    values[0, 0] = SENTINEL1_RTC.nodata
    histogram = BandHistogram(SENTINEL1_RTC)
    histogram.add(values)
    row = histogram.rows(CELL)[0]
    valid = values[1:, 0]
    for name, share in (("p02", 2), ("median", 50), ("p98", 98)):
        expected = np.percentile(valid, share, method="inverted_cdf")
        assert row[name] == pytest.approx(expected, abs=0.01)
    assert (row["minimum"], row["maximum"]) == (valid.min(), valid.max())


def test_a_band_without_data_has_no_statistics(reflectance: np.ndarray) -> None:
    histogram = BandHistogram(SENTINEL2_L2A)
    histogram.add(reflectance)
    row = histogram.rows(CELL)[3]
    assert (row["count"], row["nodata_share"], row["median"]) == (0, 1.0, None)


def test_the_rows_obey_their_schema(reflectance: np.ndarray) -> None:
    histogram = BandHistogram(SENTINEL2_L2A)
    histogram.add(reflectance)
    table = pa.Table.from_pylist(histogram.rows(CELL), schema=BAND_STATS)
    assert validate(table, BandStats).passed
