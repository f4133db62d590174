"""One experiment: which encoder reads what, and the name it goes by."""

import re
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
)

from geofm_assets.core.errors import ExperimentError

Modality = Literal["s2", "s1", "s1_s2"]
Head = Literal["classification", "segmentation"]
LAYERS: dict[str, tuple[str, ...]] = {
    "s2": ("sentinel2_l2a",),
    "s1": ("sentinel1",),
    "s1_s2": ("sentinel2_l2a", "sentinel1"),
}
_NAME = re.compile(
    r"(?P<encoder>[a-z0-9]+(?:_[a-z0-9]+)*)-(?P<modality>s2|s1|s1_s2)"
    r"-ps(?P<patch_size>[1-9][0-9]*)-ws(?P<window_size>[1-9][0-9]*)-t(?P<timesteps>[1-9][0-9]*)"
    r"(?P<head>-seg)?"
)


class Experiment(BaseModel):
    """One combination of the grid.

    Attributes:
        encoder: name of the encoder.
        modality: what it reads: `s2`, `s1` or `s1_s2`.
        patch_size: pixels of a token's side.
        window_size: pixels of the window's side, cut from the centre of the materialized window.
        timesteps: consecutive months read, around and including the month of `valid_time`; 1
            means that month (the recipe this follows took the oldest month by accident). Where
            a task names `imagery.frames`, the latest so many of them.
        head: one class a window, or one a pixel.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    encoder: str = Field(pattern=r"^[a-z0-9]+(_[a-z0-9]+)*$")
    modality: Modality
    patch_size: int = Field(ge=1)
    window_size: int = Field(ge=1)
    timesteps: int = Field(ge=1)
    head: Head = "classification"

    @model_serializer(mode="wrap")
    def _as_before_heads(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without the default head, so that ids of models trained before heads stay theirs."""
        values: dict[str, Any] = handler(self)
        if self.head == "classification":
            values.pop("head", None)
        return values

    @property
    def name(self) -> str:
        """`olmoearth_v1_2_nano-s1_s2-ps4-ws16-t12`, `-seg` after it: the partition key."""
        return (
            f"{self.encoder}-{self.modality}-ps{self.patch_size}-ws{self.window_size}"
            f"-t{self.timesteps}{'-seg' if self.head == 'segmentation' else ''}"
        )

    @property
    def layers(self) -> tuple[str, ...]:
        """Chip layers it reads."""
        return LAYERS[self.modality]

    @classmethod
    def parse(cls, name: str) -> "Experiment":
        """The experiment of a name.

        Raises:
            ExperimentError: the name is not one.
        """
        match = _NAME.fullmatch(name)
        if match is None:
            raise ExperimentError(
                "Not the name of an experiment",
                where=repr(name),
                fix="Write it as olmoearth_v1_2_nano-s1_s2-ps4-ws16-t12",
            )
        values = match.groupdict()
        head = "segmentation" if values.pop("head") else "classification"
        return cls.model_validate({**values, "head": head})
