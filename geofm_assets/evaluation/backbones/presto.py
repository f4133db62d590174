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

from geofm_assets.core.errors import ModelInputError
from geofm_assets.evaluation.backbones.base import ModelInfo, Normalization, Tokens
from geofm_assets.evaluation.backbones.inputs import (
    Cube,
    device_of,
    on_timeline,
    read_cubes,
    require_runnable,
    timeline,
)
from geofm_assets.evaluation.backbones.names import PIXEL, normalizations
from geofm_assets.evaluation.backbones.normalize import (
    RULES,
    Factors,
    dataset_factors,
    own_factors,
)
from geofm_assets.evaluation.registry.entry import ModalityEntry
from geofm_assets.evaluation.samples.types import EvalSample
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


class PrestoModel:
    """A frozen Presto.

    Args:
        encoder: of rslearn's single-file Presto.
        info: what is known of it.
    """

    def __init__(self, encoder: Any, info: ModelInfo) -> None:
        self.encoder, self._info = encoder.eval(), info
        self.longest = int(encoder.pos_embed.shape[1])

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
        """Tokens (B, H, W, 1, 128): one a pixel, Presto's own mean over its band groups and months.

        Raises:
            ModelInputError: see `require_runnable`; or more moments than Presto has positions.
        """
        size = require_runnable(self._info, samples, normalization, modalities, patch_size)
        factors = _factors(normalization, modalities)
        values = torch.zeros((len(samples), size, size, 1, self._info.embedding_size))
        valid = torch.zeros(values.shape[:-1], dtype=torch.bool)
        pixels: dict[tuple[int, int], list[_Pixels]] = {}
        for index, sample in enumerate(samples):
            cubes = read_cubes(sample, BANDS, modalities)
            if not cubes:
                continue
            for key, part in self._pixels(index, sample.sample_id, cubes, factors):
                pixels.setdefault(key, []).append(part)
        for parts in pixels.values():
            owner, place, x, mask, months = (np.concatenate(p) for p in zip(*parts, strict=True))
            found = self._run(x, mask, months)
            at = (torch.from_numpy(owner), torch.from_numpy(place))
            values.view(len(samples), size * size, -1)[at] = found
            valid.view(len(samples), size * size)[at] = True
        return Tokens(values, valid, (0,))

    def _pixels(
        self, index: int, sample_id: str, cubes: Mapping[str, Cube], factors: Mapping[str, Factors]
    ) -> list[tuple[tuple[int, int], "_Pixels"]]:
        """A sample's pixels by (moments, masked tokens), which Presto wants equal in a pass."""
        line = timeline(cubes)
        steps = len(line.moments)
        if steps > self.longest:
            raise ModelInputError(
                f"Presto knows at most {self.longest} moments, the sample has {steps}",
                where=f"sample {sample_id}",
                fix="Choose another model, or a dataset of fewer images",
            )
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


def _factors(
    normalization: Normalization, modalities: Mapping[str, ModalityEntry]
) -> dict[str, Factors]:
    """Normalisation by modality: Presto's own shift and divisor, or standardised."""
    factors: dict[str, Factors] = {}
    for name, bands in BANDS.items():
        if name not in modalities:
            continue
        if normalization == "dataset":
            factors[name] = dataset_factors("presto", modalities[name], bands, name)
            continue
        columns = [CHANNELS.index(band) for band in bands]
        add, div = PRESTO_ADD_BY[columns], PRESTO_DIV_BY[columns]
        factors[name] = own_factors(RULES["presto"]["pretrained"], (-add).tolist(), div.tolist())
    return factors


def build_presto(
    spec: EncoderSpec, text: str, *, hub: ModelHub | None, device: torch.device
) -> PrestoModel:
    """Presto from a seed, a folder with default_model.pt, or a hub.

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
    )
    return PrestoModel(module.model.to(device), info)
