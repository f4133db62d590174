"""Presto, a small pixel time-series transformer, behind the same door as OlmoEarth.

Tseng et al. 2023, "Lightweight, Pre-trained Transformers for Remote Sensing Timeseries"
(arXiv 2304.14065); weights at hub id `nasaharvest/presto`. rslearn's wrapper feeds every month
as present; this one masks the months and band groups a sample has not, which Presto was trained
to cope with, and computes the NDVI channel it was trained with.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import torch
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.data.normalize import load_computed_config
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.utils.constants import Modality
from rslearn.models.component import FeatureExtractor, FeatureMaps
from rslearn.models.presto.single_file_presto import (
    BANDS_GROUPS_IDX,
    NUM_DYNAMIC_WORLD_CLASSES,
    PRESTO_ADD_BY,
    PRESTO_BANDS,
    PRESTO_DIV_BY,
)
from rslearn.models.presto.single_file_presto import Presto as SingleFilePresto
from rslearn.train.model_context import ModelContext, RasterImage

from geofm_assets.core.errors import WeightsError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.hub import ModelHub
from geofm_assets.models.names import PRESTO
from geofm_assets.models.proof import WeightsProof, load_encoder, make_proof, read_state

HUB_ID = "nasaharvest/presto@1b97f885969da4e2d5834ca8c92707c737911464"
WEIGHTS_FILE = "default_model.pt"
EMBEDDING_SIZE = 128
# Value that stands for "no data" in normalised inputs; a band group that is nothing else is masked.
FILL = 0.5
STD_MULTIPLIER = 2.0
_CHANNELS = [band for band in PRESTO_BANDS if band != "B09"]
_NDVI, _RED, _NIR = (_CHANNELS.index(band) for band in ("NDVI", "B04", "B08"))


@dataclass(frozen=True)
class _Reader:
    """How one modality's normalised channels become Presto's.

    Attributes:
        source: channel indices in the input.
        target: channel indices in Presto's.
        scale: raw = normalised * scale + offset.
        offset: see scale.
    """

    source: list[int]
    target: list[int]
    scale: torch.Tensor
    offset: torch.Tensor


def _reader(modality: str) -> _Reader:
    """Undo OlmoEarth's normalisation, (x - (mean - 2 std)) / (4 std), and reorder bands."""
    stats = load_computed_config()[modality]
    bands = [band for band_set in Modality.get(modality).band_sets for band in band_set.bands]
    used = [band for band in bands if band in _CHANNELS]
    std = torch.tensor([stats[band]["std"] for band in used])
    mean = torch.tensor([stats[band]["mean"] for band in used])
    return _Reader(
        source=[bands.index(band) for band in used],
        target=[_CHANNELS.index(band) for band in used],
        scale=2 * STD_MULTIPLIER * std,
        offset=mean - STD_MULTIPLIER * std,
    )


class PrestoEncoder(FeatureExtractor):
    """Presto over every pixel of OlmoEarth-normalised inputs.

    Inputs are the modalities `sentinel2_l2a` and `sentinel1`, CTHW with timestamps, as for
    OlmoEarth. Months of both modalities are aligned by the centre of their period.
    """

    def __init__(self) -> None:
        super().__init__()
        self.model = SingleFilePresto.construct().encoder
        self.readers = {name: _reader(name) for name in ("sentinel2_l2a", "sentinel1")}

    def forward(self, context: ModelContext) -> FeatureMaps:
        """One (B, 128, H, W) feature map; each sample computed with its own mask."""
        prepared = [self._prepare(inputs) for inputs in context.inputs]
        groups: dict[bytes, list[int]] = {}
        for index, (values, mask, _) in enumerate(prepared):
            key = bytes([values.shape[0]]) + mask.to(torch.uint8).cpu().numpy().tobytes()
            groups.setdefault(key, []).append(index)
        maps: list[torch.Tensor | None] = [None] * len(prepared)
        for members in groups.values():
            embedded = self._embed([prepared[i] for i in members])
            for index, feature in zip(members, embedded, strict=True):
                maps[index] = feature
        return FeatureMaps([torch.stack([m for m in maps if m is not None])])

    def _prepare(
        self, inputs: dict[str, torch.Tensor | RasterImage]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """A sample as values (T, 17, H, W), group mask (T, 17; True = absent) and months (T,)."""
        present = {
            name: image
            for name, image in sorted(inputs.items())
            if name in self.readers and isinstance(image, RasterImage)
        }
        centres = sorted({c for image in present.values() for c in _centres(image)})
        first = next(iter(present.values())).image
        height, width = first.shape[-2:]
        values = first.new_zeros((len(centres), len(_CHANNELS), height, width))
        mask = torch.ones((len(centres), len(_CHANNELS)), dtype=torch.bool, device=first.device)
        for name, image in present.items():
            reader = self.readers[name]
            chosen = image.image[reader.source].transpose(0, 1)  # T C H W
            scale, offset = (
                t.to(chosen)[None, :, None, None] for t in (reader.scale, reader.offset)
            )
            rows = torch.tensor([centres.index(c) for c in _centres(image)], device=first.device)
            columns = torch.tensor(reader.target, device=first.device)
            values[rows[:, None], columns[None, :]] = chosen * scale + offset
            mask[rows[:, None], columns[None, :]] = (chosen == FILL).all(dim=(2, 3))
        red, nir = values[:, _RED], values[:, _NIR]
        values[:, _NDVI] = (nir - red) / (nir + red).clamp(min=1.0)
        mask[:, _NDVI] = mask[:, _RED] | mask[:, _NIR]
        add, div = (t.to(values)[None, :, None, None] for t in (PRESTO_ADD_BY, PRESTO_DIV_BY))
        ndvi = values[:, _NDVI].clone()
        values = (values + add) / div
        values[:, _NDVI] = ndvi
        # Presto masks whole band groups; a group with one absent band is absent.
        for columns_of_group in BANDS_GROUPS_IDX.values():
            mask[:, columns_of_group] = mask[:, columns_of_group].any(dim=1, keepdim=True)
        months = torch.tensor([c.month - 1 for c in centres], device=first.device)
        return values, mask, months

    def _embed(
        self, samples: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]
    ) -> torch.Tensor:
        """Samples that share a mask as (B, 128, H, W)."""
        values = torch.stack([s[0] for s in samples])  # B T C H W
        batch, steps, channels, height, width = values.shape
        pixels = batch * height * width
        x = values.permute(0, 3, 4, 1, 2).reshape(pixels, steps, channels)
        mask = samples[0][1].float().expand(pixels, steps, channels)
        months = torch.stack([s[2] for s in samples]).repeat_interleave(height * width, dim=0)
        absent = torch.full((pixels, steps), NUM_DYNAMIC_WORLD_CLASSES, device=x.device)
        out = self.model(x=x, dynamic_world=absent, mask=mask, month=months, eval_task=True)
        return out.reshape(batch, height, width, EMBEDDING_SIZE).permute(0, 3, 1, 2)

    def get_backbone_channels(self) -> list[tuple[int, int]]:
        """One feature map at the input's resolution."""
        return [(1, EMBEDDING_SIZE)]


def _centres(image: RasterImage) -> list[datetime]:
    """Middle of each month's period."""
    if image.timestamps is None:
        raise ValueError("Presto needs the timestamps of its inputs")
    return [start + (end - start) / 2 for start, end in image.timestamps]


def build(
    spec: EncoderSpec, patch_size: int, hub: ModelHub | None
) -> tuple[PrestoEncoder, WeightsProof]:
    """Presto from a seed, a folder with default_model.pt, a file of any name, or a hub.

    Raises:
        WeightsError: a patch size other than 1, or weights that do not fit.
        SourceUnavailableError: the hub did not answer.
    """
    if patch_size != 1:
        raise WeightsError(
            f"Presto reads single pixels, patch size {patch_size} is impossible",
            where="encoder presto",
            fix="Use patch_size 1",
        )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.seed)
        module = PrestoEncoder()
    config = {"architecture": PRESTO}
    if spec.source == "random":
        return module, make_proof(module.model, f"random initialisation, seed {spec.seed}", config)
    if spec.source == "hub":
        if hub is None:
            raise WeightsError("Weights from a hub need a hub", where="encoder presto")
        bundle = hub.fetch(spec.location or HUB_ID, (WEIGHTS_FILE,))
        place, start = bundle.folder, f"hub {bundle.name}"
    elif spec.location is None:
        raise WeightsError("Weights from a path need a path", where="encoder presto")
    else:
        place, start = Path(spec.location).expanduser(), f"path {spec.location}"
    weights = place if place.is_file() else place / WEIGHTS_FILE
    loaded = load_encoder(
        module.model, read_state(weights), prefix="encoder.", where=str(weights), allow=spec.allow
    )
    return module, make_proof(module.model, start, config, sha256_file(weights), loaded)
