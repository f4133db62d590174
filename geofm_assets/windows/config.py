"""Settings of the window stage, as a task file states them."""

from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)


class WindowsConfig(BaseModel):
    """How big a window is, in space and in time.

    Attributes:
        size: side in pixels.
        resolution: metres a pixel.
        days_before: the window's time range starts so many days before midnight UTC of the
            label's valid_time.
        days_after: and ends so many days after it.
        around: `points` that are labelled, or whole `polygons`, of which a large one gets several
            windows side by side. Every window has `size` pixels, so that chips have one shape.
        min_size: pixels of the side, at least, of what is labelled in the window of a polygon that
            fits into it: its box, grown on all sides to this. Beyond it there is imagery without a
            class. Null for the whole window. Of windows around polygons only.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=32, ge=1, le=4096)
    resolution: float = Field(default=10.0, gt=0)
    days_before: int = Field(default=15, ge=0, le=3660)
    days_after: int = Field(default=15, ge=1, le=3660)
    around: Literal["points", "polygons"] = "points"
    min_size: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _least_size_is_of_polygons(self) -> Self:
        if self.min_size is None:
            return self
        if self.around == "points":
            raise ValueError("min_size is of windows around polygons: set around: polygons")
        if self.min_size > self.size:
            raise ValueError(f"min_size is {self.min_size}, more than size {self.size}")
        return self

    @model_serializer(mode="wrap")
    def _points_as_ever(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Windows around points read as they did before there were others."""
        said: dict[str, Any] = handler(self)
        if self.around == "points":
            said.pop("around", None)
            said.pop("min_size", None)
        return said

    @property
    def extent_m(self) -> float:
        """Side of a window in metres."""
        return self.size * self.resolution


class MasksConfig(BaseModel):
    """Which pixels of a window count as burnt, and which nobody knows.

    Attributes:
        gap_m: metres around perimeters where a pixel is unknown: their lines are not exact.
        recent_days: a fire contained so many days before a window's date, or fewer, counts as
            burnt like the sample's own.
        scar_years: under fires and prescribed burns that ended earlier, but not longer ago than
            this, a pixel is unknown; later it counts as unburnt.
        after_days: a fire that begins up to so many days after a window's date may be on imagery
            of it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    gap_m: float = Field(default=150, ge=0, le=10_000)
    recent_days: int = Field(default=60, ge=0, le=3660)
    scar_years: int = Field(default=5, ge=0, le=500)
    after_days: int = Field(default=45, ge=0, le=3660)
