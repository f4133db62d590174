"""Settings of where encoder weights come from."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from geofm_assets.core.errors import ConfigError


class EncoderSpec(BaseModel):
    """One encoder and what its weights start from.

    Attributes:
        name: architecture: `olmoearth_v1_2_nano`, … or `presto`.
        source: `random`, `path` (a folder) or `hub`.
        location: of a path: a folder with config.json and weights.pth (presto: with
            default_model.pt, or that file). Of a hub: `owner/name` or `owner/name@revision`; None
            means the published repository of the name.
        seed: of a random start.
        allow: patterns of encoder keys that may be missing or unexpected in the weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    source: Literal["random", "path", "hub"] = "random"
    location: str | None = None
    seed: int = Field(default=0, ge=0, lt=2**63)
    allow: tuple[str, ...] = ()


class WeightsConfig(BaseModel):
    """Where the encoders of a task start from; one setting for every encoder of the grid.

    Attributes:
        source: as in `EncoderSpec`.
        location: as in `EncoderSpec`; `{name}` stands for the encoder's name, so that one
            setting serves several encoders.
        seed: as in `EncoderSpec`.
        allow: as in `EncoderSpec`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: Literal["random", "path", "hub"] = "random"
    location: str | None = None
    seed: int = Field(default=0, ge=0, lt=2**63)
    allow: tuple[str, ...] = ()

    def spec(self, name: str) -> EncoderSpec:
        """The specification of one encoder.

        Raises:
            ConfigError: weights from a path without a path.
        """
        if self.source == "path" and not self.location:
            raise ConfigError(
                "Weights from a path need a path", where="weights.location", fix="Name a folder"
            )
        location = self.location.replace("{name}", name) if self.location else None
        return EncoderSpec(
            name=name, source=self.source, location=location, seed=self.seed, allow=self.allow
        )
