"""Encoders by name, from a seeded random start, a folder or a hub, each with its proof."""

import json
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.nn.attention import DropPath
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.utils.config import Config
from rslearn.models.component import FeatureExtractor, FeatureMaps, TokenFeatureMaps
from rslearn.models.olmoearth_pretrain.model import OlmoEarth
from rslearn.train.model_context import ModelContext

from geofm_assets.core.errors import WeightsError
from geofm_assets.core.hashing import sha256_file
from geofm_assets.models import (
    modality_order,  # noqa: F401 - its import is its effect
    presto,
)
from geofm_assets.models.architecture import (
    Architecture,
    architecture,
    bundle_config,
    model_config,
)
from geofm_assets.models.config import EncoderSpec
from geofm_assets.models.hub import ModelHub
from geofm_assets.models.names import MAX_PATCH_SIZE, PRESTO
from geofm_assets.models.proof import (
    LoadedKeys,
    WeightsProof,
    load_encoder,
    make_proof,
    read_state,
)

__all__ = ["BuiltEncoder", "EncoderSpec", "PooledOlmoEarth", "build_encoder", "set_drop_path"]

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "weights.pth"
# Fields in which two OlmoEarth architectures differ; a folder must agree with the name in each.
_IDENTITY = (
    "embedding_size",
    "depth",
    "num_heads",
    "position_encoding",
    "use_linear_patch_embed",
    "patch_embed_hidden_sizes",
)


@dataclass(frozen=True)
class BuiltEncoder:
    """An encoder ready to train.

    Attributes:
        module: takes a `ModelContext`, returns `FeatureMaps` with one (B, D, H/p, W/p) map.
        embedding_size: D.
        proof: what it started from.
    """

    module: FeatureExtractor
    embedding_size: int
    proof: WeightsProof


class PooledOlmoEarth(FeatureExtractor):
    """rslearn's OlmoEarth, made independent of which samples share a batch.

    Two things upstream let a neighbour change a sample that lacks a month. rslearn averages over
    the modalities present in the batch, so a sample without Sentinel-1 is halved if another has
    some: here tokens are averaged over what the sample itself has. And outside training the
    encoder drops its attention mask, so the padding of shorter samples is attended to: here the
    mask stays.

    Args:
        backbone: rslearn's wrapper with `token_pooling=False`.
    """

    def __init__(self, backbone: OlmoEarth) -> None:
        super().__init__()
        self.backbone = backbone
        backbone.model._maybe_get_attn_mask = _attention_mask  # ours, for its own drops the mask

    def forward(self, context: ModelContext) -> FeatureMaps:
        """Mean over valid (modality, time, band set) tokens: (B, D, H/p, W/p)."""
        features: TokenFeatureMaps = self.backbone(context)
        assert features.masks is not None  # rslearn sets it whenever token_pooling is off
        tokens, valid = features.feature_maps[0], features.masks[0]  # BDHWN, BHWN
        weight = valid.unsqueeze(1).to(tokens.dtype)
        pooled = (tokens * weight).sum(-1) / weight.sum(-1).clamp(min=1)
        return FeatureMaps([pooled])

    def get_backbone_channels(self) -> list[tuple[int, int]]:
        """(patch size, embedding size) of the one feature map."""
        channels: list[tuple[int, int]] = self.backbone.get_backbone_channels()
        return channels


def _attention_mask(new_mask: torch.Tensor | None, fast_pass: bool) -> torch.Tensor | None:
    """The mask of real tokens wherever there is padding, in training and out of it."""
    return None if fast_pass else new_mask


def build_encoder(
    spec: EncoderSpec,
    patch_size: int,
    *,
    hub: ModelHub | None = None,
    autocast: bool = False,
) -> BuiltEncoder:
    """Build an encoder and load its weights.

    Args:
        spec: which, and from what.
        patch_size: pixels of a token's side, 1 to 8 (presto: 1).
        hub: where hub ids are fetched from; only needed for `source="hub"`.
        autocast: run the encoder in bfloat16 (on a GPU; it gains nothing on a CPU).

    Raises:
        WeightsError: unknown name, impossible patch size, another architecture in the folder, or
            weights that do not fit.
        SourceUnavailableError: the hub did not answer.
    """
    if spec.name == PRESTO:
        module, proof = presto.build(spec, patch_size, hub)
        return BuiltEncoder(module, presto.EMBEDDING_SIZE, proof)
    arch = architecture(spec.name)
    if not 1 <= patch_size <= MAX_PATCH_SIZE:
        raise WeightsError(
            f"Patch size {patch_size} is not in 1..{MAX_PATCH_SIZE}", where=f"encoder {spec.name}"
        )
    if spec.source == "random":
        return _random(arch, spec.seed, patch_size, autocast)
    if spec.source == "hub":
        if hub is None:
            raise WeightsError("Weights from a hub need a hub", where=f"encoder {spec.name}")
        bundle = hub.fetch(spec.location or arch.hub_id, (CONFIG_FILE, WEIGHTS_FILE))
        return _from_folder(arch, bundle.folder, f"hub {bundle.name}", patch_size, autocast, spec)
    if spec.location is None:
        raise WeightsError("Weights from a path need a path", where=f"encoder {spec.name}")
    folder = Path(spec.location).expanduser()
    return _from_folder(arch, folder, f"path {spec.location}", patch_size, autocast, spec)


def set_drop_path(module: torch.nn.Module, rate: float) -> None:
    """Set how often residual branches are dropped in training (stochastic depth, 0 to 1)."""
    for part in module.modules():
        if isinstance(part, DropPath):
            part.drop_prob = rate


def _wrap(folder: Path, arch: Architecture, patch_size: int, autocast: bool) -> PooledOlmoEarth:
    """Wrap a folder's architecture by rslearn, weights still random."""
    wrapped = OlmoEarth(
        patch_size=patch_size,
        model_path=str(folder),
        random_initialization=True,
        embedding_size=arch.embedding_size,
        autocast_dtype="bfloat16" if autocast else None,
        token_pooling=False,
        use_legacy_timestamps=False,  # the default invents dates of 2024
    )
    return PooledOlmoEarth(wrapped)


def _random(arch: Architecture, seed: int, patch_size: int, autocast: bool) -> BuiltEncoder:
    """Weights drawn from a seed; the caller's random state is left as it was."""
    config = bundle_config(arch)
    with tempfile.TemporaryDirectory() as name, torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        (Path(name) / CONFIG_FILE).write_text(json.dumps(config))
        module = _wrap(Path(name), arch, patch_size, autocast)
    start = f"random initialisation, seed {seed}"
    return BuiltEncoder(module, arch.embedding_size, _proof(module, start))


def _from_folder(
    arch: Architecture, folder: Path, start: str, patch_size: int, autocast: bool, spec: EncoderSpec
) -> BuiltEncoder:
    """Weights from a folder with config.json and weights.pth."""
    _require_same_architecture(arch, folder)
    weights = folder / WEIGHTS_FILE
    state = read_state(weights)
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(spec.seed)  # decides keys that `allow` lets be missing
        module = _wrap(folder, arch, patch_size, autocast)
    loaded = load_encoder(
        module.backbone.model, state, prefix="encoder.", where=str(weights), allow=spec.allow
    )
    proof = _proof(module, start, sha256_file(weights), loaded)
    return BuiltEncoder(module, arch.embedding_size, proof)


def _require_same_architecture(arch: Architecture, folder: Path) -> None:
    """Refuse a folder whose config.json is of another architecture than the name says."""
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise WeightsError(
            "No model configuration",
            where=str(path),
            fix=f"Give a folder with {CONFIG_FILE} and {WEIGHTS_FILE}",
        )
    try:
        config: dict[str, Any] = json.loads(path.read_text())
        given = Config.from_dict(config["model"]).encoder_config
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise WeightsError(
            f"The model configuration cannot be read: {error}", where=str(path)
        ) from error
    wanted = model_config(arch).encoder_config
    for name in _IDENTITY:
        if getattr(given, name) != getattr(wanted, name):
            raise WeightsError(
                f"The folder holds another architecture than {arch.name}: {name} is "
                f"{getattr(given, name)!r}, not {getattr(wanted, name)!r}",
                where=str(path),
                fix="Name the encoder the weights belong to",
            )


def _proof(
    module: PooledOlmoEarth,
    start: str,
    sha256: str | None = None,
    loaded: LoadedKeys | None = None,
) -> WeightsProof:
    """The proof of an OlmoEarth encoder; its id covers the code that gives weights a meaning."""
    encoder = module.backbone.model
    config = {
        "implementation": f"olmoearth_pretrain_minimal {version('olmoearth_pretrain_minimal')}",
        "modalities": list(encoder.encoder_input_modality_names),
        "patch_size": module.backbone.patch_size,
    }
    return make_proof(encoder, start, config, sha256, loaded)
