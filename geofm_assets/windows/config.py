"""Settings of the window stage, as a task file states them."""

from pydantic import BaseModel, ConfigDict, Field


class WindowsConfig(BaseModel):
    """How big a window is, in space and in time.

    Attributes:
        size: side in pixels.
        resolution: metres a pixel.
        days_before: the window's time range starts so many days before midnight UTC of the
            label's valid_time.
        days_after: and ends so many days after it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(default=32, ge=1, le=4096)
    resolution: float = Field(default=10.0, gt=0)
    days_before: int = Field(default=15, ge=0, le=3660)
    days_after: int = Field(default=15, ge=1, le=3660)

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
