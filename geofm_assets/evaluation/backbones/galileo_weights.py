"""Galileo's weights: from a seed, a folder or a hub, with their proof."""

import json
from pathlib import Path
from typing import Any

import torch
from rslearn.models.galileo.single_file_galileo import (
    CONFIG_FILENAME,
    ENCODER_FILENAME,
    Encoder,
)

from geofm_assets.core.errors import WeightsError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.hub import ModelHub
from geofm_assets.models.proof import WeightsProof, load_encoder, make_proof, read_state

HUB_ID = "nasaharvest/galileo@f039dd5dde966a931baeda47eb680fa89b253e4e"
# Tseng et al. 2025, table of model sizes: channels, depth, heads.
SIZES = {"nano": (128, 4, 8), "tiny": (192, 12, 3), "base": (768, 12, 12)}


def load_galileo(spec: EncoderSpec, hub: ModelHub | None) -> tuple[Encoder, WeightsProof]:
    """An encoder from a seed, a folder with config.json and encoder.pt, or a hub.

    A folder may also be a copy of the published repository, `models/<size>/` below it.

    Raises:
        WeightsError: weights that do not fit.
        SourceUnavailableError: the hub did not answer.
    """
    size = spec.name.removeprefix("galileo_")
    width, depth, heads = SIZES[size]
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.seed)
        encoder = Encoder(embedding_size=width, depth=depth, num_heads=heads, mlp_ratio=4)
    config = {"architecture": spec.name}
    if spec.source == "random":
        return encoder, make_proof(encoder, f"random initialisation, seed {spec.seed}", config)
    inner = Path("models") / size
    if spec.source == "hub":
        if hub is None:
            raise WeightsError("Weights from a hub need a hub", where=f"model {spec.name}")
        files = tuple(str(inner / name) for name in (CONFIG_FILENAME, ENCODER_FILENAME))
        bundle = hub.fetch(spec.location or HUB_ID, files)
        folder, start = bundle.folder / inner, f"hub {bundle.name}"
    else:
        folder = Path(spec.location or "").expanduser()
        start = f"path {spec.location}"
        if not (folder / ENCODER_FILENAME).is_file() and (folder / inner).is_dir():
            folder = folder / inner
    _require_same_size(folder, encoder, spec.name)
    weights = folder / ENCODER_FILENAME
    # some published files put ".backbone" into the names
    state = {f"encoder.{k.replace('.backbone', '')}": v for k, v in read_state(weights).items()}
    loaded = load_encoder(encoder, state, prefix="encoder.", where=str(weights), allow=spec.allow)
    return encoder, make_proof(encoder, start, config, sha256_file(weights), loaded)


def _require_same_size(folder: Path, encoder: Encoder, name: str) -> None:
    """Refuse a folder whose config.json is of another size than the name says."""
    path = folder / CONFIG_FILENAME
    if not path.is_file():
        raise WeightsError(
            "No model configuration",
            where=str(path),
            fix=f"Give a folder with {CONFIG_FILENAME} and {ENCODER_FILENAME}",
        )
    try:
        given: dict[str, Any] = json.loads(path.read_text())["model"]["encoder"]
        found = (given["embedding_size"], given["depth"], given["num_heads"])
    except (ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"The model configuration cannot be read: {error!r}", where=str(path)
        ) from error
    wanted = SIZES[name.removeprefix("galileo_")]
    if found != wanted:
        raise WeightsError(
            f"The folder holds another size than {name}: width, depth and heads are {found}, "
            f"not {wanted}",
            where=str(path),
            fix="Name the size the weights belong to",
        )
