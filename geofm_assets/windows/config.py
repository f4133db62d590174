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
