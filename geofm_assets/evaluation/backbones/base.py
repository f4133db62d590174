"""The interface of a model under evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

from geofm_assets.evaluation.registry.entry import ModalityEntry
from geofm_assets.evaluation.samples.types import EvalSample

if TYPE_CHECKING:
    import torch

    from geofm_assets.models.proof import WeightsProof

Normalization = Literal["pretrained", "dataset"]


@dataclass(frozen=True)
class Tokens:
    """What a model says of a batch before pooling.

    Attributes:
        values: float32 (B, h, w, N, D); N tokens (modality, time, band set) at each place.
        valid: bool (B, h, w, N): tokens made from data.
        modality: N entries: which modality a token is of (an index), for pooling per modality.
    """

    values: "torch.Tensor"
    valid: "torch.Tensor"
    modality: tuple[int, ...]


@dataclass(frozen=True)
class ModelInfo:
    """What is known of a model without running it.

    Attributes:
        name: as given on the command line.
        model_id: sha256 of weights plus configuration.
        start: what the weights are, in words; every score repeats it.
        embedding_size: D.
        bands: by modality it can read, the bands it reads, in its order.
        patch_sizes: pixels of a token's side it can run with, the default first.
        normalizations: the rules it can run with, the default first.
        simulated: whether its training data was simulated (fine-tuned checkpoints).
        proof: how much of its weights was really loaded; None if it has none.
    """

    name: str
    model_id: str
    start: str
    embedding_size: int
    bands: Mapping[str, tuple[str, ...]]
    patch_sizes: tuple[int, ...]
    normalizations: tuple[Normalization, ...]
    simulated: bool = False
    proof: "WeightsProof | None" = None


class EvalModel(Protocol):
    """A frozen encoder."""

    @property
    def info(self) -> ModelInfo:
        """What is known of it."""
        ...

    def embed(
        self,
        samples: Sequence[EvalSample],
        normalization: Normalization,
        modalities: Mapping[str, ModalityEntry],
        patch_size: int,
    ) -> Tokens:
        """Tokens of a batch of samples of one size.

        What a sample yields does not depend on its neighbours in the batch.

        Args:
            samples: of one dataset; months and modalities may differ between them.
            normalization: one of `info.normalizations`.
            modalities: of the dataset: band order and statistics.
            patch_size: one of `info.patch_sizes`, dividing the samples' size.

        Raises:
            ModelInputError: no sample modality the model reads, or a band it cannot do without.
        """
        ...
