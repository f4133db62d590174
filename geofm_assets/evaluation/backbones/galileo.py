"""Galileo, its Sentinel-1 and Sentinel-2 inputs, with a mask for every token.

Tseng et al. 2025, "Galileo: Learning Global & Local Features of Many Remote Sensing Modalities"
(arXiv 2502.09356); weights at hub id `nasaharvest/galileo`. rslearn has the architecture; its
wrapper downloads weights on its own and cannot mask, so it is not used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from rslearn.models.galileo.single_file_galileo import (
    NORMALIZING_DICT,
    SPACE_BAND_GROUPS_IDX,
    SPACE_BANDS,
    SPACE_TIME_BANDS,
    SPACE_TIME_BANDS_GROUPS_IDX,
    STATIC_BAND_GROUPS_IDX,
    STATIC_BANDS,
    TIME_BAND_GROUPS_IDX,
    TIME_BANDS,
    Encoder,
)

from geofm_assets.evaluation.backbones.base import ModelInfo, Tokens
from geofm_assets.evaluation.backbones.frozen import Batch, FrozenModel
from geofm_assets.evaluation.backbones.galileo_weights import load_galileo
from geofm_assets.evaluation.backbones.inputs import (
    device_of,
    matched_bands,
    on_timeline,
    patches_with_data,
)
from geofm_assets.evaluation.backbones.names import FLEXIBLE, normalizations
from geofm_assets.evaluation.backbones.normalize import (
    RULES,
    Factors,
    factors_by_modality,
    std_factors,
)
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.hub import ModelHub
from geofm_assets.models.proof import model_id

READER = 1
BANDS = {
    "sentinel2_l2a": ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
    "sentinel1": ("vv", "vh"),
}
# Band groups that become tokens. NDVI is left out, as rslearn's input construction does.
_GROUPS = {
    name: [g for g in SPACE_TIME_BANDS_GROUPS_IDX if g.startswith(start)]
    for name, start in (("sentinel2_l2a", "S2"), ("sentinel1", "S1"))
}
_ALL_GROUPS = list(SPACE_TIME_BANDS_GROUPS_IDX)
_STATISTICS: Any = NORMALIZING_DICT[str(len(SPACE_TIME_BANDS))]


def _columns(modality: str) -> list[int]:
    """Where Galileo has a modality's bands."""
    names = matched_bands(BANDS[modality], SPACE_TIME_BANDS)
    return [SPACE_TIME_BANDS.index(name) for name in names if name is not None]


class GalileoModel(FrozenModel):
    """A frozen Galileo encoder.

    Tokens are (B, h, w, N, D): by moment, then band group. A sample with more moments than Galileo
    has positions is a ModelInputError.

    Args:
        encoder: rslearn's.
        info: what is known of it.
    """

    def __init__(self, encoder: Encoder, info: ModelInfo) -> None:
        super().__init__(info)
        self.encoder = encoder.eval()
        self.longest = int(encoder.max_sequence_length)

    def _tokens(self, batch: Batch) -> Tokens:
        factors = factors_by_modality(
            "galileo", batch.normalization, batch.bands, batch.modalities, _own_factors
        )
        groups = [(m, g) for m in batch.bands for g in _GROUPS[m]]
        chosen = [_ALL_GROUPS.index(group) for _, group in groups]
        prepared = [self._prepare(batch, index, factors) for index in range(len(batch.ids))]
        steps = max((len(months) for _, _, months in prepared), default=0) or 1
        flat_values, flat_valid = batch.nothing(steps * len(groups), self._info.embedding_size)
        values = flat_values.unflatten(3, (steps, len(groups)))
        valid = flat_valid.unflatten(3, (steps, len(groups)))
        kinds: dict[tuple[int, bool], list[int]] = {}
        masks: list[np.ndarray] = []
        for index, (_, seen, months) in enumerate(prepared):
            mask = patches_with_data(seen, batch.patch_size).transpose(2, 3, 0, 1)  # h w T G
            masks.append(mask)
            if len(months):
                kinds.setdefault((len(months), bool(mask[..., chosen].all())), []).append(index)
        for (length, _), members in kinds.items():
            mask = np.stack([masks[i] for i in members])
            found = self._encode(
                np.stack([prepared[i][0] for i in members]),
                mask,
                np.stack([prepared[i][2] for i in members]),
                batch.patch_size,
            )
            rows = torch.tensor(members)
            values[rows, :, :, :length] = found[..., chosen, :]
            valid[rows, :, :, :length] = torch.from_numpy(mask[..., chosen])
        values[~valid] = 0.0
        owner = [list(BANDS).index(m) for m, _ in groups] * steps
        return Tokens(flat_values, flat_valid, tuple(owner))

    def _prepare(
        self, batch: Batch, index: int, factors: Mapping[str, Factors]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pixels (H, W, T, 13), where groups hold data (T, G, H, W), months (T,)."""
        cubes = batch.cubes[index]
        if not cubes:
            nothing = np.zeros((0, len(_ALL_GROUPS), 1, 1), dtype=bool)
            return np.zeros((1, 1, 0, 0)), nothing, np.zeros(0, dtype=np.int64)
        line = batch.timeline(index, self.longest, "Galileo")
        steps = len(line.moments)
        height, width = next(iter(cubes.values())).values.shape[-2:]
        values = np.zeros((steps, len(SPACE_TIME_BANDS), height, width), dtype=np.float32)
        seen = np.zeros((steps, len(_ALL_GROUPS), height, width), dtype=bool)
        for name, cube in cubes.items():
            raw = on_timeline(cube.values, line.rows[name], steps)
            columns = _columns(name)
            values[:, columns] = factors[name].apply(raw)
            there = ~np.isnan(raw)
            for group in _GROUPS[name]:
                own = [columns.index(c) for c in SPACE_TIME_BANDS_GROUPS_IDX[group]]
                seen[:, _ALL_GROUPS.index(group)] = there[:, own].any(axis=1)
        months = np.array([m.month - 1 for m in line.moments], dtype=np.int64)
        return values.transpose(2, 3, 0, 1), seen, months

    def _encode(
        self, values: np.ndarray, mask: np.ndarray, months: np.ndarray, patch_size: int
    ) -> torch.Tensor:
        """Tokens (B, h, w, T, G, D) of samples with equally many moments.

        Args:
            values: (B, H, W, T, 13) normalised.
            mask: bool (B, h, w, T, G), where there is data.
            months: (B, T), from 0.
            patch_size: pixels of a token's side.
        """
        device = device_of(self.encoder)
        batch, height, width, steps, _ = values.shape
        hidden = (~mask).astype(np.float32).repeat(patch_size, axis=1).repeat(patch_size, axis=2)

        def empty(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, device=device)

        tokens: torch.Tensor = self.encoder(
            s_t_x=torch.from_numpy(np.ascontiguousarray(values)).to(device),
            sp_x=empty(batch, height, width, len(SPACE_BANDS)),
            t_x=empty(batch, steps, len(TIME_BANDS)),
            st_x=empty(batch, len(STATIC_BANDS)),
            s_t_m=torch.from_numpy(hidden).to(device),
            sp_m=empty(batch, height, width, len(SPACE_BAND_GROUPS_IDX)) + 1,
            t_m=empty(batch, steps, len(TIME_BAND_GROUPS_IDX)) + 1,
            st_m=empty(batch, len(STATIC_BAND_GROUPS_IDX)) + 1,
            months=torch.from_numpy(months).to(device),
            patch_size=patch_size,
        )[0]
        return tokens.float().cpu()


def _own_factors(modality: str, bands: Sequence[str]) -> Factors:
    """Galileo's own statistics."""
    columns = _columns(modality)
    return std_factors(
        RULES["galileo"]["pretrained"],
        [_STATISTICS["mean"][c] for c in columns],
        [_STATISTICS["std"][c] for c in columns],
    )


def build_galileo(
    spec: EncoderSpec, text: str, *, hub: ModelHub | None, device: torch.device
) -> GalileoModel:
    """Galileo from a seed, a folder with config.json and encoder.pt, or a hub.

    Raises:
        WeightsError: weights that do not fit.
        SourceUnavailableError: the hub did not answer.
    """
    encoder, proof = load_galileo(spec, hub)
    config = {"architecture": spec.name, "reader": READER, "bands": BANDS}
    info = ModelInfo(
        name=text,
        model_id=model_id(encoder.state_dict(), config),
        start=proof.start,
        embedding_size=int(encoder.embedding_size),
        bands=BANDS,
        patch_sizes=FLEXIBLE,
        normalizations=normalizations(spec.name),
        proof=proof,
    )
    return GalileoModel(encoder.to(device), info)
