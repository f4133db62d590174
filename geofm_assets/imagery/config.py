"""Settings of the imagery stage, as a task file states them."""

from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from geofm_assets.imagery.bands import LayerName

Profile = Literal["local_scenes", "planetary_computer"]


class ImageryConfig(BaseModel):
    """Which imagery a task's windows get.

    Attributes:
        profile: `local_scenes` reads a folder of scenes with items.json, `planetary_computer` a
            STAC API of Planetary Computer's kind.
        months: timesteps of every layer, oldest first.
        frames: instead of `months`, the very months wanted, counted from the one that holds the
            label's valid_time, ascending: `[-1, 1]` is the month before and the month after. They
            are calendar months of local scenes, thirty-day periods of a catalogue.
        modalities: layers, each with a mosaic a timestep.
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
    frames: tuple[int, ...] | None = Field(default=None, min_length=1, max_length=24)
    modalities: tuple[LayerName, ...] = ("sentinel2_l2a", "sentinel1")
    coverages: int = Field(default=1, ge=1, le=10)
    max_cloud_cover: float | None = Field(default=None, ge=0, le=100)
    ingest: bool = False

    @property
    def timesteps(self) -> int:
        """How many mosaics every layer has."""
        return self.months if self.frames is None else len(self.frames)

    @model_serializer(mode="wrap")
    def _as_before_frames(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without what does not apply, so that digests made before there were frames stay."""
        values: dict[str, Any] = handler(self)
        values.pop("frames" if self.frames is None else "months", None)
        return values

    @field_validator("frames")
    @classmethod
    def _ascending(cls, value: tuple[int, ...] | None) -> tuple[int, ...] | None:
        if value is not None and (list(value) != sorted(set(value)) or value[-1] - value[0] > 23):
            raise ValueError("frames must ascend, each once, and lie within 24 months")
        return value

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.frames is not None and "months" in self.model_fields_set:
            raise ValueError("frames names the months itself: give months or frames, not both")
        return self

    @field_validator("modalities")
    @classmethod
    def _each_once(cls, value: tuple[LayerName, ...]) -> tuple[LayerName, ...]:
        if not value or len(set(value)) != len(value):
            raise ValueError("modalities must be one or more layers, each once")
        return value
