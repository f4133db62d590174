"""OlmoEarth v1 to v1.3 as it was pretrained, with real timestamps and a mask for every token.

Three things differ from rslearn's wrapper: a patch without a single valid pixel is masked instead
of read as data, samples that lack something never share a pass with samples that lack nothing
(so the unmasked fast path stays exact for the latter), and bands a dataset lacks are filled the
way the model's version was trained for.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.data.missing_bands import copy_nearest_bands
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.utils.constants import Modality
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.utils.datatypes import (
    MaskedOlmoEarthSample,
    MaskValue,
)

from geofm_assets.core.errors import WeightsError
from geofm_assets.evaluation.backbones.base import ModelInfo, Tokens
from geofm_assets.evaluation.backbones.frozen import Batch, FrozenModel
from geofm_assets.evaluation.backbones.inputs import (
    Cube,
    device_of,
    on_timeline,
    patches_with_data,
    timeline,
)
from geofm_assets.evaluation.backbones.names import FLEXIBLE, normalizations
from geofm_assets.evaluation.backbones.normalize import (
    RULES,
    Factors,
    factors_by_modality,
    olmoearth_statistics,
    std_factors,
)
from geofm_assets.models.architecture import ENCODER_MODALITIES, architecture
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.encoders import build_encoder
from geofm_assets.models.hub import ModelHub
from geofm_assets.models.proof import model_id

READER = 2
"""Version of how samples become inputs and outputs become tokens; part of the model's id."""
BANDS: dict[str, tuple[str, ...]] = {
    name: tuple(b for s in Modality.get(name).band_sets for b in s.bands)
    for name in ENCODER_MODALITIES
}
_ONLINE, _MISSING = MaskValue.ONLINE_ENCODER.value, MaskValue.MISSING.value
# What a band is after normalisation where other bands of its image are there. Versions after v1
# were trained with bands dropped to 0; v1 gets the band nearest in wavelength instead.
_DROPPED = 0.0


@dataclass(frozen=True)
class _Prepared:
    """A sample as the encoder reads it.

    Attributes:
        values: by modality float32 (H, W, T, C), normalised.
        valid: by modality bool (h, w, T, S): patches of a band set that hold data.
        days: int32 (T, 3): day, month from 0, year.
    """

    values: dict[str, np.ndarray]
    valid: dict[str, np.ndarray]
    days: np.ndarray

    @property
    def kind(self) -> tuple[Any, ...]:
        """What samples must share to go through the encoder together."""
        complete = all(bool(mask.all()) for mask in self.valid.values())
        return len(self.days), tuple(self.values), complete


class OlmoEarthModel(FrozenModel):
    """A frozen OlmoEarth encoder.

    Tokens are (B, h, w, N, D): by modality, then moment, then band set. v1.3 yields one token a
    place, its location token.

    Args:
        encoder: of olmoearth_pretrain_minimal, its attention mask kept in evaluation.
        info: what is known of it.
        copy_bands: fill a lacking band from its neighbour in wavelength (v1) instead of with 0.
        locations: read the location tokens of v1.3 instead of the patch tokens.
    """

    def __init__(self, encoder: Any, info: ModelInfo, *, copy_bands: bool, locations: bool) -> None:
        super().__init__(info)
        self.encoder = encoder.eval()
        self.copy_bands, self.locations = copy_bands, locations
        tokenization = self.encoder.patch_embeddings.tokenization_config
        self.band_sets: dict[str, list[list[int]]] = {
            name: tokenization.get_bandset_indices(name) for name in info.bands
        }

    def _tokens(self, batch: Batch) -> Tokens:
        factors = factors_by_modality(
            "olmoearth", batch.normalization, batch.bands, batch.modalities, _own_factors
        )
        if self.copy_bands:
            factors = {name: _borrowed(name, found) for name, found in factors.items()}
        prepared = [self._prepare(cubes, factors, batch.patch_size) for cubes in batch.cubes]
        steps = max((len(p.days) for p in prepared), default=0)
        names = [n for n in self._info.bands if any(n in p.values for p in prepared)]
        starts: dict[str, int] = {}
        owner: list[int] = []
        for name in names:
            starts[name] = len(owner)
            owner += [list(self._info.bands).index(name)] * (steps * len(self.band_sets[name]))
        if self.locations or not owner:
            owner = [0]
        values, valid = batch.nothing(len(owner), self._info.embedding_size)
        kinds: dict[tuple[Any, ...], list[int]] = {}
        for index, one in enumerate(prepared):
            if one.values:
                kinds.setdefault(one.kind, []).append(index)
        for members in kinds.values():
            group = [prepared[i] for i in members]
            output = self._encode(group, batch.patch_size)
            rows = torch.tensor(members)
            if self.locations:
                values[rows, :, :, 0] = output["location_tokens"].float().cpu()
                valid[rows, :, :, 0] = torch.from_numpy(np.stack([_any(p.valid) for p in group]))
                continue
            for name in group[0].values:
                tokens = getattr(output["tokens_and_masks"], name).float().cpu().flatten(3, 4)
                mask = np.stack([p.valid[name] for p in group])
                columns = slice(starts[name], starts[name] + tokens.shape[3])
                valid[rows, :, :, columns] = torch.from_numpy(mask).flatten(3, 4)
                values[rows, :, :, columns] = tokens
        values[~valid] = 0.0
        return Tokens(values, valid, tuple(owner))

    def _prepare(
        self, cubes: Mapping[str, Cube], factors: Mapping[str, Factors], patch_size: int
    ) -> _Prepared:
        """Normalise a sample, say which patches hold data, and put it on one line of moments."""
        line = timeline(cubes)
        values: dict[str, np.ndarray] = {}
        valid: dict[str, np.ndarray] = {}
        for name, cube in cubes.items():
            raw = on_timeline(cube.values, line.rows[name], len(line.moments))
            seen = ~np.isnan(raw)  # T C H W
            if self.copy_bands:
                raw = np.moveaxis(_copied(name, np.moveaxis(raw, 1, -1)), -1, 1)
            normalised = factors[name].apply(raw)
            if not self.copy_bands:
                normalised[~seen & seen.any(axis=1, keepdims=True)] = _DROPPED
            values[name] = normalised.transpose(2, 3, 0, 1)
            sets = [seen[:, bands].any(axis=1) for bands in self.band_sets[name]]
            found = patches_with_data(np.stack(sets), patch_size)  # S T h w
            valid[name] = found.transpose(2, 3, 1, 0)
        days = [(m.day, m.month - 1, m.year) for m in line.moments]
        return _Prepared(values, valid, np.array(days, dtype=np.int32).reshape(-1, 3))

    def _encode(self, group: Sequence[_Prepared], patch_size: int) -> dict[str, Any]:
        """The encoder's output for samples of one kind."""
        device = device_of(self.encoder)
        inputs: dict[str, torch.Tensor] = {
            "timestamps": torch.from_numpy(np.stack([p.days for p in group])).to(device)
        }
        complete = True
        for name in group[0].values:
            stacked = np.ascontiguousarray(np.stack([p.values[name] for p in group]))
            mask = np.stack([p.valid[name] for p in group])
            complete &= bool(mask.all())
            codes = np.where(mask, _ONLINE, _MISSING).astype(np.int32)
            pixels = codes.repeat(patch_size, axis=1).repeat(patch_size, axis=2)
            inputs[name] = torch.from_numpy(stacked).to(device)
            inputs[f"{name}_mask"] = torch.from_numpy(pixels).to(device)
        output: dict[str, Any] = self.encoder(
            MaskedOlmoEarthSample(**inputs), patch_size=patch_size, fast_pass=complete
        )
        return output


def _own_factors(modality: str, bands: Sequence[str]) -> Factors:
    """Statistics of OlmoEarth's pretraining data."""
    rule = RULES["olmoearth"]["pretrained"]
    return std_factors(rule, *olmoearth_statistics(modality, bands))


def _copied(name: str, values: np.ndarray) -> np.ndarray:
    """Lacking bands (NaN) taken from the band nearest in wavelength, (..., C)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # `require_runnable` has said so
        filled: np.ndarray = copy_nearest_bands(name, values, np.isnan(values))[0]
    return filled


def _borrowed(name: str, factors: Factors) -> Factors:
    """Factors in which a band without statistics has those of the band it is copied from."""
    lacking = np.isnan(factors.low)
    if not lacking.any():
        return factors
    own = np.arange(len(lacking), dtype=np.float32)
    copied = _copied(name, np.where(lacking, np.nan, own)[None])[0]
    source = np.where(np.isnan(copied), own, copied).astype(np.int64)
    return replace(factors, low=factors.low[source], span=factors.span[source])


def _any(valid: Mapping[str, np.ndarray]) -> np.ndarray:
    """Places (h, w) with data of any modality, time or band set."""
    return np.any([mask.any(axis=(2, 3)) for mask in valid.values()], axis=0)


def build_olmoearth(
    spec: EncoderSpec, text: str, *, hub: ModelHub | None, device: torch.device
) -> OlmoEarthModel:
    """An OlmoEarth model of any version.

    Args:
        spec: which, and from what.
        text: what the scores call it.
        hub: where hub ids are fetched from.
        device: where to run.

    Raises:
        WeightsError: the weights do not fit the name.
        SourceUnavailableError: the hub did not answer.
    """
    arch = architecture(spec.name)
    built = build_encoder(spec, FLEXIBLE[0], hub=hub)
    backbone: Any = built.module
    encoder = backbone.backbone.model
    locations = arch.version == "v1_3"
    if locations != (encoder.attention_pooler is not None):
        raise WeightsError(
            f"The folder holds another architecture than {arch.name}: location tokens are "
            f"{'missing' if locations else 'there'}",
            where=built.proof.start,
            fix="Name the encoder the weights belong to",
        )
    bands = {n: b for n, b in BANDS.items() if n in encoder.encoder_input_modality_names}
    config = {
        "implementation": f"olmoearth_pretrain_minimal {version('olmoearth_pretrain_minimal')}",
        "reader": READER,
        "version": arch.version,
        "bands": {name: list(of) for name, of in bands.items()},
    }
    info = ModelInfo(
        name=text,
        model_id=model_id(encoder.state_dict(), config),
        start=built.proof.start,
        embedding_size=arch.embedding_size,
        bands=bands,
        patch_sizes=FLEXIBLE,
        normalizations=normalizations(spec.name),
        proof=built.proof,
    )
    return OlmoEarthModel(
        encoder.to(device), info, copy_bands=arch.version == "v1", locations=locations
    )
