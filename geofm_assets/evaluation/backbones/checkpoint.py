"""Encoders fine-tuned here, read from the store and run as they were trained."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from rslearn.models.component import FeatureMaps, TokenFeatureMaps
from rslearn.train.model_context import ModelContext, RasterImage

from geofm_assets.core.errors import ModelInputError, WeightsError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.core.store import Store
from geofm_assets.evaluation.backbones.base import ModelInfo, Tokens
from geofm_assets.evaluation.backbones.frozen import Batch, FrozenModel
from geofm_assets.evaluation.backbones.inputs import Cube, patches_with_data
from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.normalize import normalize
from geofm_assets.models.encoders import PooledOlmoEarth
from geofm_assets.models.proof import WeightsProof, load_encoder, make_proof
from geofm_assets.training.checkpoint import Checkpoint, read_checkpoint
from geofm_assets.training.experiments import Experiment


class FineTunedModel(FrozenModel):
    """The encoder of a checkpoint, without the head it was trained with.

    Inputs are normalised, filled and put in time exactly as in training. Tokens (B, h, w, N, D)
    are OlmoEarth's, one a pixel of Presto. Two images of one layer at one time are a
    ModelInputError.

    Args:
        encoder: takes a `ModelContext`.
        info: what is known of it.
    """

    def __init__(self, encoder: torch.nn.Module, info: ModelInfo, device: torch.device) -> None:
        super().__init__(info)
        self.encoder: Any = encoder.eval()
        self.device = device

    def _tokens(self, batch: Batch) -> Tokens:
        some = [i for i, found in enumerate(batch.cubes) if found]
        if not some:
            return Tokens(*batch.nothing(1, self._info.embedding_size), (0,))
        context = ModelContext(inputs=[self._inputs(batch.cubes[i]) for i in some], metadatas=[])
        try:
            tokens, valid, owner = self._encode(context)
        except ValueError as error:  # rslearn's, for two images of one layer at one time
            raise ModelInputError(
                str(error).capitalize(), where=f"model {self._info.name}", fix="Ingest anew"
            ) from error
        seen = torch.from_numpy(np.stack([_seen(batch.cubes[i], batch.patch_size) for i in some]))
        valid = valid & seen.unsqueeze(-1)
        rows = torch.tensor(some)
        out, mask = batch.nothing(*tokens.shape[3:])
        out[rows], mask[rows] = torch.where(valid.unsqueeze(-1), tokens, 0.0), valid
        return Tokens(out, mask, owner)

    def _inputs(self, cubes: Mapping[str, Cube]) -> dict[str, Any]:
        """A sample as training gives it."""
        inputs: dict[str, Any] = {}
        for name, cube in cubes.items():
            normalised = normalize(cube.values, name).transpose(1, 0, 2, 3)
            image = torch.from_numpy(np.ascontiguousarray(normalised)).to(self.device)
            inputs[name] = RasterImage(image, list(cube.timestamps))
        return inputs

    def _encode(self, context: ModelContext) -> tuple[torch.Tensor, torch.Tensor, tuple[int, ...]]:
        """Values (B, h, w, N, D), valid (B, h, w, N) and modality of the tokens."""
        if not isinstance(self.encoder, PooledOlmoEarth):
            maps: FeatureMaps = self.encoder(context)
            values = maps.feature_maps[-1].float().cpu().permute(0, 2, 3, 1).unsqueeze(3)
            return values, torch.ones(values.shape[:-1], dtype=torch.bool), (0,)
        features: TokenFeatureMaps = self.encoder.backbone(context)
        assert features.masks is not None  # rslearn sets it whenever token_pooling is off
        values = features.feature_maps[0].float().cpu().permute(0, 2, 3, 4, 1)
        names = [n for n in self._info.bands if any(n in inputs for inputs in context.inputs)]
        tokenization = self.encoder.backbone.model.patch_embeddings.tokenization_config
        sets = {name: tokenization.get_num_bandsets(name) for name in names}
        steps = values.shape[3] // sum(sets.values())
        order = list(self._info.bands)
        owner = tuple(order.index(name) for name in names for _ in range(steps * sets[name]))
        return values, features.masks[0].cpu(), owner


def _seen(cubes: Mapping[str, Cube], patch_size: int) -> np.ndarray:
    """Places (h, w) where a patch holds any data."""
    pixels = [~np.isnan(cube.values).all(axis=(0, 1)) for cube in cubes.values()]
    return patches_with_data(np.any(pixels, axis=0), patch_size)


def build_checkpoint(
    task: str, experiment: str, text: str, *, store: Store | None, device: torch.device
) -> FineTunedModel:
    """The encoder of `tasks/<task>/experiments/<experiment>/checkpoint.ckpt`.

    Raises:
        WeightsError: no store was given, there is no such checkpoint, or it is damaged.
        ExperimentError: the experiment's name is not one.
        ContractError: it was trained on other bands or another normalisation.
    """
    if store is None:
        raise WeightsError(
            "A checkpoint lies in a store, and none was given", where=text, fix="Pass --store"
        )
    name = Experiment.parse(experiment).name
    key = f"tasks/{task}/experiments/{name}/checkpoint.ckpt"
    found, sha256 = _read(store, key)
    layers = found.experiment.layers
    start = f"fine-tuned as {task}/{name}, starting from {found.encoder_start}"
    built = found.build()
    info = ModelInfo(
        name=text,
        model_id=found.model_id,
        start=start,
        embedding_size=built.embedding_size,
        bands={layer: LAYERS[layer].band_names for layer in layers},
        patch_sizes=(found.experiment.patch_size,),
        normalizations=("pretrained",),
        simulated=found.simulated,
        proof=_proof(found, built.encoder, start, sha256, f"{store.url}/{key}"),
    )
    return FineTunedModel(built.encoder.to(device), info, device)


def _proof(
    found: Checkpoint, encoder: torch.nn.Module, start: str, sha256: str, where: str
) -> WeightsProof:
    """That the encoder's tensors are the checkpoint's."""
    state = found.content["state_dict"]
    loaded = load_encoder(encoder, state, prefix="encoder.", where=where)
    return replace(make_proof(encoder, start, {}, sha256, loaded), model_id=found.model_id)


def _read(store: Store, key: str) -> tuple[Checkpoint, str]:
    """A checkpoint of a store, a folder or a bucket, and its file's sha256."""
    try:
        path = store.fetch_file(key)
    except FileNotFoundError as error:
        raise WeightsError(
            "No checkpoint", where=f"{store.url}/{key}", fix="Train the experiment first"
        ) from error
    return read_checkpoint(path), sha256_file(path)
