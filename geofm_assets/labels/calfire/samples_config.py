"""How perimeters become samples: the `samples` settings of a burned-area task."""

from pathlib import Path
from typing import Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

_HECTARE_M2 = 10_000.0


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PolygonWindows(_Section):
    """Windows around whole fires instead of points in them.

    Attributes:
        size: side of a window in pixels.
        resolution: metres a pixel.
    """

    size: int = Field(ge=1)
    resolution: float = Field(gt=0)

    @property
    def side_m(self) -> float:
        """Side of a window in metres."""
        return self.size * self.resolution

    @property
    def to_middle_px(self) -> float:
        """Pixels from a window's lower left corner to the point that it is cut around.

        The middle of a pixel, so that rounding in a projection cannot move the window.
        """
        return self.size // 2 + 0.5


class PointsRule(_Section):
    """How many points a fire gets: (area / `area_ha`) ** `growth`, rounded, one at least.

    Attributes:
        area_ha: hectares that one point stands for; null for the area of a window.
        growth: 1 grows with the area, 0.5 with its root, 0 gives every fire one point.
    """

    area_ha: float | None = Field(default=None, gt=0)
    growth: float = Field(default=0.5, ge=0, le=1)


class RingConfig(_Section):
    """Unburnt samples near a fire.

    Attributes:
        gap_m: metres kept free around every perimeter, whose lines are not exact.
        width_m: width of the ring beyond the gap.
        ratio: ring samples for each burnt sample of the fire.
    """

    gap_m: float = Field(default=150, ge=0, le=10_000)
    width_m: float = Field(default=1000, gt=0, le=50_000)
    ratio: float = Field(default=0.5, ge=0, le=100)


class FarConfig(_Section):
    """Unburnt samples away from fires, so that a model does not learn "near a fire".

    They lie in the H3 cells that hold a perimeter of any year. Strata get equal numbers.

    Attributes:
        ratio: far samples for each burnt sample of the year.
        min_km: kilometres from any perimeter, at least.
        h3_resolution: of the cells; they are the strata where there is no land cover.
        land_cover: a raster of land-cover classes in any CRS, whose first band gives the strata;
            points on nodata or outside of it are left out.
        skip_classes: land-cover values never sampled, such as water.
        within: a polygon file that far samples must lie in, in any CRS; without one, those of a
            coastal cell may lie in the sea.
    """

    ratio: float = Field(default=0.5, ge=0, le=100)
    min_km: float = Field(default=5, gt=0, le=500)
    h3_resolution: int = Field(default=4, ge=0, le=8)
    land_cover: str | None = None
    skip_classes: list[int] = []
    within: str | None = None

    @model_validator(mode="after")
    def _classes_need_a_raster(self) -> Self:
        if self.skip_classes and self.land_cover is None:
            raise ValueError("skip_classes needs land_cover, the raster the classes are of")
        return self


class SamplesConfig(_Section):
    """Where samples are taken around fires, and how many.

    Attributes:
        window_extent_m: side of a window in metres and one pixel more, to which its centre is
            rounded; no window overlaps another of its year.
        spacing_m: metres between the points of the grid; null for `window_extent_m`.
        points: how many points a fire gets.
        max_points_per_fire: and at most so many.
        min_area_ha: smaller fires are left out; 0.01 ha is a pixel of 10 m.
        ring: unburnt samples near fires.
        far: unburnt samples away from fires.
        exclude_after_days: a fire that begins up to so many days after a sample's date is taken
            to be burning on imagery of it.
        scar_years: a place counts as unburnt so many years after a fire; null for never.
        seed: key of every random choice.
        around: windows around whole fires, in place of points in them; what `windows.around` of
            the task says. Null for points.
    """

    window_extent_m: float = Field(default=330, gt=0, le=100_000)
    spacing_m: float | None = Field(default=None, gt=0)
    points: PointsRule = PointsRule()
    max_points_per_fire: int = Field(default=40, ge=1)
    min_area_ha: float = Field(default=0.01, ge=0)
    ring: RingConfig = RingConfig()
    far: FarConfig = FarConfig()
    exclude_after_days: int = Field(default=45, ge=0, le=3660)
    scar_years: int | None = Field(default=None, ge=0, le=500)
    seed: int = Field(default=0, ge=0, lt=2**63)
    around: PolygonWindows | None = None

    @model_serializer(mode="wrap")
    def _points_as_ever(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Settings of points read as they did before there was anything else."""
        said: dict[str, Any] = handler(self)
        if self.around is None:
            said.pop("around", None)
        return said

    @model_validator(mode="after")
    def _one_point_a_window(self) -> Self:
        if self.spacing_m is not None and self.spacing_m < self.window_extent_m:
            raise ValueError(
                f"spacing_m is {self.spacing_m:g}, less than a window's {self.window_extent_m:g} "
                "metres: windows would overlap"
            )
        return self

    @property
    def grid_m(self) -> float:
        """Metres between the points of the grid."""
        return self.spacing_m or self.window_extent_m

    @property
    def hectares_per_point(self) -> float:
        """Hectares that one point stands for."""
        return self.points.area_ha or self.window_extent_m**2 / _HECTARE_M2

    def files(self) -> list[Path]:
        """Files the samples depend on; a stage takes note of their content."""
        return [Path(f) for f in (self.far.land_cover, self.far.within) if f is not None]
