"""Settings of the imagery stage, as a task file states them."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from geofm_assets.imagery.bands import LayerName

Profile = Literal["local_scenes", "planetary_computer"]


class ImageryConfig(BaseModel):
    """Which imagery a task's windows get.

    Attributes:
        profile: `local_scenes` reads a folder of scenes with items.json, `planetary_computer` a
            STAC API of Planetary Computer's kind.
        months: timesteps of every layer, oldest first.
        modalities: layers, each with `months` mosaics.
        coverages: how many scenes covering a window a mosaic may draw on. With 1 the best scene
            is taken as it is; with more, pixels without data in one are filled from the next.
        max_cloud_cover: per cent; Sentinel-2 scenes above it are left out. None keeps all. Scenes
            that do not state their cloud cover are kept.
        ingest: copy scenes into the dataset's tile store before cutting windows from them,
            instead of reading them where they lie.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: Profile = "local_scenes"
    months: int = Field(default=12, ge=1, le=24)
    modalities: tuple[LayerName, ...] = ("sentinel2_l2a", "sentinel1")
    coverages: int = Field(default=1, ge=1, le=10)
    max_cloud_cover: float | None = Field(default=None, ge=0, le=100)
    ingest: bool = False

    @field_validator("modalities")
    @classmethod
    def _each_once(cls, value: tuple[LayerName, ...]) -> tuple[LayerName, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("modalities must be one or more layers, each once")
        return value
