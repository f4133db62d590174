"""What every model does alike: check what it was asked for, read the samples, lay out tokens."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from geofm_assets.core.errors import ModelInputError
from geofm_assets.evaluation.backbones.alignment import Timeline
from geofm_assets.evaluation.backbones.base import ModelInfo, Normalization, Tokens
from geofm_assets.evaluation.backbones.inputs import Cube, read_cubes, require_runnable, timeline
from geofm_assets.evaluation.registry.entry import ModalityEntry
from geofm_assets.evaluation.samples.types import EvalSample


@dataclass(frozen=True)
class Batch:
    """Samples as a model reads them.

    Attributes:
        ids: of the B samples.
        cubes: by sample and modality; a modality without data is left out.
        bands: by modality of the dataset that the model reads, the bands of the cubes.
        normalization: the rule asked for.
        modalities: of the dataset.
        size: side of the samples in pixels.
        patch_size: pixels of a token's side.
    """

    ids: tuple[str, ...]
    cubes: tuple[dict[str, Cube], ...]
    bands: Mapping[str, Sequence[str]]
    normalization: Normalization
    modalities: Mapping[str, ModalityEntry]
    size: int
    patch_size: int

    @property
    def side(self) -> int:
        """Places along a side, h and w."""
        return self.size // self.patch_size

    def nothing(self, tokens: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (B, h, w, N, D) of zeros, and valid (B, h, w, N), False throughout."""
        shape = (len(self.ids), self.side, self.side, tokens)
        return torch.zeros((*shape, width)), torch.zeros(shape, dtype=torch.bool)

    def timeline(self, index: int, longest: int, model: str) -> Timeline:
        """The moments of a sample.

        Args:
            index: of the sample.
            longest: how many moments the model has positions for.
            model: its name for people.

        Raises:
            ModelInputError: the sample has more.
        """
        line = timeline(self.cubes[index])
        if len(line.moments) > longest:
            raise ModelInputError(
                f"{model} knows at most {longest} moments, the sample has {len(line.moments)}",
                where=f"sample {self.ids[index]}",
                fix="Choose another model, or a dataset of fewer images",
            )
        return line


class FrozenModel(ABC):
    """A frozen encoder; what differs between models is `_tokens`.

    Args:
        info: what is known of it.
    """

    def __init__(self, info: ModelInfo) -> None:
        self._info = info

    @property
    def info(self) -> ModelInfo:
        """What is known of it."""
        return self._info

    @torch.no_grad()
    def embed(
        self,
        samples: Sequence[EvalSample],
        normalization: Normalization,
        modalities: Mapping[str, ModalityEntry],
        patch_size: int,
    ) -> Tokens:
        """Tokens of a batch, as `EvalModel.embed` promises and the model's class lays them out.

        Raises:
            ModelInputError: see `require_runnable`; or what the model's class names.
        """
        size = require_runnable(self._info, samples, normalization, modalities, patch_size)
        bands = self._bands(modalities)
        return self._tokens(
            Batch(
                ids=tuple(sample.sample_id for sample in samples),
                cubes=tuple(read_cubes(sample, bands, modalities) for sample in samples),
                bands=bands,
                normalization=normalization,
                modalities=modalities,
                size=size,
                patch_size=patch_size,
            )
        )

    def _bands(self, modalities: Mapping[str, ModalityEntry]) -> Mapping[str, Sequence[str]]:
        """By modality of the dataset that the model reads, the bands it reads."""
        return {name: bands for name, bands in self._info.bands.items() if name in modalities}

    @abstractmethod
    def _tokens(self, batch: Batch) -> Tokens:
        """What the model says of a batch; zeros and not valid where a sample has no data."""
