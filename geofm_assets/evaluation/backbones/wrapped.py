"""Models that rslearn wraps, behind the same interface as ours."""

import contextlib
import importlib.util
import io
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from rslearn.models.component import FeatureMaps
from rslearn.train.model_context import ModelContext, RasterImage
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from geofm_assets.core.errors import WeightsError
from geofm_assets.evaluation.backbones.base import ModelInfo, Tokens
from geofm_assets.evaluation.backbones.frozen import Batch, FrozenModel
from geofm_assets.evaluation.backbones.inputs import Cube, patches_with_data
from geofm_assets.evaluation.backbones.names import WRAPPED_PATCHES, ModelChoice, normalizations
from geofm_assets.evaluation.backbones.normalize import Factors, dataset_factors
from geofm_assets.evaluation.backbones.watched_weights import watching_loads
from geofm_assets.evaluation.backbones.wrapped_builders import (
    BUILDERS,
    PACKAGES,
    Reading,
    Wrapped,
)
from geofm_assets.models.hub import ModelHub
from geofm_assets.models.proof import model_id

READER = 1
_CHUNK = 16  # images in one pass


class WrappedModel(FrozenModel):
    """A frozen model of rslearn's.

    Its wrapper resizes images to what the model was trained on; the map that comes out is brought
    to one token a patch, by averaging where it is finer and bilinearly where it is coarser. Tokens
    are (B, h, w, T, D), one an image; T is 1 for a model of time series.

    Args:
        module: takes a `ModelContext`, returns `FeatureMaps`.
        reading: what it reads.
        info: what is known of it.
        device: where it lies.
    """

    def __init__(
        self, module: torch.nn.Module, reading: Reading, info: ModelInfo, device: torch.device
    ) -> None:
        super().__init__(info)
        self.module: Any = module.eval().to(device)
        self.reading, self.device = reading, device

    def _tokens(self, batch: Batch) -> Tokens:
        reading = self.reading
        factors = self._factors(batch)
        if reading.series:  # AnySat cuts its own patches, in metres
            self.module.patch_size_meters = 10 * batch.patch_size
        passes = [
            (index, slot, part)
            for index, cubes in enumerate(batch.cubes)
            for cube in cubes.values()
            for slot, part in enumerate(_parts(cube, reading.series))
        ]
        steps = max((slot + 1 for _, slot, _ in passes), default=1)
        values, valid = batch.nothing(steps, self._info.embedding_size)
        chunk = 1 if reading.series else _CHUNK
        for begin in range(0, len(passes), chunk):
            together = passes[begin : begin + chunk]
            maps = self._run([part for _, _, part in together], factors)
            maps = _resampled(maps, batch.side).permute(0, 2, 3, 1)
            for (index, slot, part), found in zip(together, maps, strict=True):
                seen = ~np.isnan(part.values).all(axis=(0, 1))
                held = patches_with_data(seen, batch.patch_size)
                valid[index, :, :, slot] = torch.from_numpy(held)
                values[index, :, :, slot] = found
        values[~valid] = 0.0
        return Tokens(values, valid, (0,) * steps)

    def _factors(self, batch: Batch) -> Factors:
        """The model's own normalisation, or the family's by the dataset."""
        reading = self.reading
        if batch.normalization == "pretrained":
            assert reading.pretrained is not None  # `info.normalizations` offers it only then
            return reading.pretrained
        entry = batch.modalities[reading.modality]
        return dataset_factors(reading.family, entry, reading.bands, reading.modality)

    def _run(self, parts: Sequence[Cube], factors: Factors) -> torch.Tensor:
        """Feature maps (n, D, gh, gw), float32."""
        inputs: list[dict[str, Any]] = []
        for part in parts:
            normalised = factors.apply(part.values)
            if self.reading.mean is not None and self.reading.std is not None:
                mean, std = (
                    np.array(v, dtype=np.float32)[None, :, None, None]
                    for v in (self.reading.mean, self.reading.std)
                )
                normalised = (normalised - mean) / std
            image = torch.from_numpy(np.ascontiguousarray(normalised.transpose(1, 0, 2, 3)))
            raster = RasterImage(image.to(self.device), list(part.timestamps))
            inputs.append({self.reading.key: raster})
        maps: FeatureMaps = self.module(ModelContext(inputs=inputs, metadatas=[]))
        return maps.feature_maps[-1].float().cpu()


def _parts(cube: Cube, series: bool) -> list[Cube]:
    """What goes through the model at once: all images, or each by itself."""
    if series:
        return [cube]
    return [
        Cube(cube.values[i : i + 1], cube.centres[i : i + 1], cube.timestamps[i : i + 1])
        for i in range(len(cube.centres))
    ]


def _resampled(maps: torch.Tensor, side: int) -> torch.Tensor:
    """Maps (n, D, gh, gw) as (n, D, side, side)."""
    if side <= min(maps.shape[-2:]):
        return adaptive_avg_pool2d(maps, side)
    return interpolate(maps, size=(side, side), mode="bilinear", align_corners=False)


def build_wrapped(
    choice: ModelChoice, *, hub: ModelHub | None, device: torch.device
) -> WrappedModel:
    """A model that rslearn wraps.

    Raises:
        WeightsError: its package or weights are missing, or do not fit each other.
        SourceUnavailableError: the hub did not answer.
    """
    family = next(name for name in BUILDERS if choice.name.startswith(name))
    where = f"model {choice.text}"
    package = PACKAGES.get(family)
    if package and importlib.util.find_spec(package) is None:
        raise WeightsError(
            f"{choice.name} needs the package {package}, which is not installed",
            where=where,
            fix=f"pip install {package.replace('_', '-')}",
        )
    try:
        # some announce what they build
        with contextlib.redirect_stdout(io.StringIO()), watching_loads() as given:
            built: Wrapped = BUILDERS[family](choice, hub)
    except ImportError as error:
        raise WeightsError(
            f"{choice.name} needs a package that is not installed: {error}",
            where=where,
            fix=f"pip install {error.name or 'it'}",
        ) from error
    except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
        reason = (str(error) or repr(error)).splitlines()[0]
        raise WeightsError(
            f"{choice.name} could not be built: {reason}",
            where=where,
            fix="Check its weights, its package's version and the network",
        ) from error
    reading = built.reading
    config = {
        "implementation": f"rslearn {version('rslearn')}",
        "architecture": choice.name,
        "reader": READER,
        "bands": list(reading.bands),
    }
    identity = model_id(built.module.state_dict(), config)
    info = ModelInfo(
        name=choice.text,
        model_id=identity,
        start=built.start,
        embedding_size=reading.width,
        bands={reading.modality: reading.bands},
        patch_sizes=WRAPPED_PATCHES,
        normalizations=normalizations(choice.name),
        proof=given.proof(built.module, built.start, identity, built.weights),
    )
    return WrappedModel(built.module, reading, info, device)
