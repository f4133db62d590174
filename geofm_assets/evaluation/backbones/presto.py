"""Presto over every pixel, each pixel with its own mask of months and band groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from rslearn.models.presto.single_file_presto import (
    BANDS_GROUPS_IDX,
    NUM_DYNAMIC_WORLD_CLASSES,
    PRESTO_ADD_BY,
    PRESTO_BANDS,
    PRESTO_DIV_BY,
    PRESTO_S1_BANDS,
    PRESTO_S2_BANDS,
)

from geofm_assets.evaluation.backbones.base import ModelInfo, Tokens
from geofm_assets.evaluation.backbones.frozen import Batch, FrozenModel
from geofm_assets.evaluation.backbones.inputs import device_of, on_timeline
from geofm_assets.evaluation.backbones.names import PIXEL, normalizations
from geofm_assets.evaluation.backbones.normalize import (
    RULES,
    Factors,
    factors_by_modality,
    own_factors,
)
from geofm_assets.models import presto
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.hub import ModelHub
from geofm_assets.models.proof import model_id

READER = 1
CHANNELS = tuple(band for band in PRESTO_BANDS if band != "B09")  # B09 was never trained
BANDS: dict[str, tuple[str, ...]] = {
    "sentinel2_l2a": tuple(band for band in PRESTO_S2_BANDS if band != "B09"),
    "sentinel1": tuple(PRESTO_S1_BANDS),
}
_NDVI, _RED, _NIR = (CHANNELS.index(band) for band in ("NDVI", "B04", "B08"))
# Pixels in one pass: a CPU is a quarter faster where they fit its cache.
_CHUNK = {"cpu": 256}
_CHUNK_ELSEWHERE = 8192


class PrestoModel(FrozenModel):
    """A frozen Presto.

    Tokens are (B, H, W, 1, 128): one a pixel, Presto's own mean over its band groups and months.
    A sample with more moments than Presto has positions is a ModelInputError.

    Args:
        encoder: of rslearn's single-file Presto.
        info: what is known of it.
    """

    def __init__(self, encoder: Any, info: ModelInfo) -> None:
        super().__init__(info)
        self.encoder = encoder.eval()
        self.longest = int(encoder.pos_embed.shape[1])

    def _tokens(self, batch: Batch) -> Tokens:
        factors = factors_by_modality(
            "presto", batch.normalization, batch.bands, batch.modalities, _own_factors
        )
        values, valid = batch.nothing(1, self._info.embedding_size)
        pixels: dict[tuple[int, int], list[_Pixels]] = {}
        for index, cubes in enumerate(batch.cubes):
            for key, part in self._pixels(batch, index, factors) if cubes else ():
                pixels.setdefault(key, []).append(part)
        places = (len(batch.ids), batch.size**2)
        for parts in pixels.values():
            owner, place, x, mask, months = (np.concatenate(p) for p in zip(*parts, strict=True))
            found = self._run(x, mask, months)
            at = (torch.from_numpy(owner), torch.from_numpy(place))
            values.view(*places, -1)[at] = found
            valid.view(places)[at] = True
        return Tokens(values, valid, (0,))

    def _pixels(
        self, batch: Batch, index: int, factors: Mapping[str, Factors]
    ) -> list[tuple[tuple[int, int], "_Pixels"]]:
        """A sample's pixels by (moments, masked tokens), which Presto wants equal in a pass."""
        cubes = batch.cubes[index]
        line = batch.timeline(index, self.longest, "Presto")
        steps = len(line.moments)
        height, width = next(iter(cubes.values())).values.shape[-2:]
        values = np.zeros((steps, len(CHANNELS), height, width), dtype=np.float32)
        mask = np.ones(values.shape, dtype=bool)
        for name, cube in cubes.items():
            raw = on_timeline(cube.values, line.rows[name], steps)
            columns = [CHANNELS.index(band) for band in BANDS[name]]
            values[:, columns] = factors[name].apply(raw)
            mask[:, columns] = np.isnan(raw)
            if name == "sentinel2_l2a":
                red, nir = (raw[:, BANDS[name].index(band)] for band in ("B04", "B08"))
                values[:, _NDVI] = np.nan_to_num((nir - red) / np.maximum(nir + red, 1.0))
        mask[:, _NDVI] = mask[:, _RED] | mask[:, _NIR]
        for columns in BANDS_GROUPS_IDX.values():  # a group with one absent band is absent
            mask[:, columns] = mask[:, columns].any(axis=1, keepdims=True)
        pixels = height * width
        x = values.reshape(steps, len(CHANNELS), pixels).transpose(2, 0, 1)
        gone = mask.reshape(steps, len(CHANNELS), pixels).transpose(2, 0, 1)
        firsts = [columns[0] for columns in BANDS_GROUPS_IDX.values()]
        tokens = gone[:, :, firsts].sum(axis=(1, 2))
        seen = ~gone.all(axis=(1, 2))
        months = np.array([m.month - 1 for m in line.moments], dtype=np.int64)
        parts = []
        for count in np.unique(tokens[seen]).tolist():
            place = np.flatnonzero(seen & (tokens == count))
            owner = np.full(len(place), index, dtype=np.int64)
            span = np.broadcast_to(months, (len(place), steps))
            parts.append(((steps, int(count)), (owner, place, x[place], gone[place], span)))
        return parts

    def _run(self, x: np.ndarray, mask: np.ndarray, months: np.ndarray) -> torch.Tensor:
        """Embeddings (P, D) of pixels with equally many masked tokens."""
        device, found = device_of(self.encoder), []
        chunk = _CHUNK.get(device.type, _CHUNK_ELSEWHERE)
        for start in range(0, len(x), chunk):
            part = slice(start, start + chunk)
            pixels = torch.from_numpy(np.ascontiguousarray(x[part])).to(device)
            absent = torch.full(pixels.shape[:2], NUM_DYNAMIC_WORLD_CLASSES, device=device)
            out = self.encoder(
                x=pixels,
                dynamic_world=absent,
                mask=torch.from_numpy(mask[part].astype(np.float32)).to(device),
                month=torch.from_numpy(np.array(months[part])).to(device),
                eval_task=True,
            )
            found.append(out.float().cpu())
        return torch.cat(found)


# Index of the sample, of the pixel in it, values and mask (P, T, 17), months (P, T).
_Pixels = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _own_factors(modality: str, bands: Sequence[str]) -> Factors:
    """Presto's own shift and divisor."""
    columns = [CHANNELS.index(band) for band in bands]
    add, div = PRESTO_ADD_BY[columns], PRESTO_DIV_BY[columns]
    return own_factors(RULES["presto"]["pretrained"], (-add).tolist(), div.tolist())


def build_presto(
    spec: EncoderSpec, text: str, *, hub: ModelHub | None, device: torch.device
) -> PrestoModel:
    """Presto from a seed, a folder with default_model.pt, a file of any name, or a hub.

    Raises:
        WeightsError: weights that do not fit.
        SourceUnavailableError: the hub did not answer.
    """
    module, proof = presto.build(spec, 1, hub)
    config = {"architecture": "presto", "reader": READER, "channels": list(CHANNELS)}
    info = ModelInfo(
        name=text,
        model_id=model_id(module.model.state_dict(), config),
        start=proof.start,
        embedding_size=presto.EMBEDDING_SIZE,
        bands=BANDS,
        patch_sizes=PIXEL,
        normalizations=normalizations(spec.name),
        proof=proof,
    )
    return PrestoModel(module.model.to(device), info)
