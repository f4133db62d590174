"""How large a sample world is."""

import datetime as dt
from dataclasses import dataclass

from geofm_assets.core.errors import ConfigError

PIXEL_M = 10.0
"""Pixel side in metres, Sentinel-2's finest."""
WINDOW_PX = 32
"""Side of the windows whose pixels must lie inside a scene."""


@dataclass(frozen=True)
class Preset:
    """One size of world.

    Attributes:
        name: as given to `build`.
        cells: H3 cells of resolution 3 with reference data.
        districts_per_cell: imaged squares in each; every one lies in an H3 cell of its own of
            resolution 4 (5 if there are more than seven), so that a split by blocks can part them.
        points: accepted reference points in a district.
        side_px: side of a district and of its scenes, pixels; a multiple of 16 (TIFF tiles).
        field_px: mean distance of neighbouring fields' middles, pixels.
        first_month: first month with scenes.
        months: how many months have scenes.
        valid_from: earliest `valid_time` of a point.
        valid_to: latest `valid_time` of a point.
    """

    name: str
    cells: int
    districts_per_cell: int
    points: int
    side_px: int
    field_px: int
    first_month: dt.date
    months: int
    valid_from: dt.date
    valid_to: dt.date

    @property
    def block_resolution(self) -> int:
        """H3 resolution at which every district has a cell of its own."""
        return 4 if self.districts_per_cell <= 7 else 5

    def month_starts(self) -> list[dt.date]:
        """First days of the months with scenes, and of the month after the last."""
        first = self.first_month.year * 12 + self.first_month.month - 1
        return [dt.date(m // 12, m % 12 + 1, 1) for m in range(first, first + self.months + 1)]


# 6 months asked for around the first half of June are March to August, whichever day it is.
_HALF_YEAR = (dt.date(2022, 3, 1), 6, dt.date(2022, 6, 1), dt.date(2022, 6, 15))

PRESETS = {
    preset.name: preset
    for preset in (
        Preset(
            name="demo",
            cells=8,
            districts_per_cell=3,
            points=12,
            side_px=160,
            field_px=20,
            first_month=dt.date(2021, 9, 1),
            months=17,
            # 12 months around these days lie within the 17.
            valid_from=dt.date(2022, 5, 10),
            valid_to=dt.date(2022, 7, 10),
        ),
        Preset("many_cells", 26, 1, 4, 96, 16, *_HALF_YEAR),
        Preset("tiny", 2, 12, 2, 80, 16, *_HALF_YEAR),
    )
}


def get_preset(name: str) -> Preset:
    """The preset of a name.

    Raises:
        ConfigError: there is none.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"There is no sample world of size {name!r}", fix=f"Use one of {', '.join(PRESETS)}"
        )
    return PRESETS[name]
