"""The OlmoEarth architectures by name, built without reaching for a hub.

`olmoearth_pretrain_minimal` publishes sizes and version differences as constants; its own builder
keeps the resulting configuration to itself, and its loader downloads a `config.json` even for a
random start. Here the same constants become a `config.json` of our own, which a test compares
with what the package itself builds.
"""

from dataclasses import dataclass
from typing import Any

from olmoearth_pretrain_minimal.olmoearth_pretrain_v1 import olmoearth_pretrain_v1 as published
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.nn.flexi_vit import (
    AttentionPoolerConfig,
    EncoderConfig,
    PredictorConfig,
)
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.nn.latent_mim import LatentMIMConfig
from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.nn.tokenization import (
    ModalityTokenization,
    TokenizationConfig,
)

from geofm_assets.core.errors import WeightsError
from geofm_assets.models.names import ENCODER_NAMES, MAX_PATCH_SIZE, OLMOEARTH_WIDTHS

# Modalities the released encoders read; the others were only decoded in pretraining
# (olmoearth_pretrain_minimal.model_loader, ENCODER_INPUT_MODALITY_NAMES).
ENCODER_MODALITIES = ("sentinel2_l2a", "sentinel1", "landsat")
MAX_TIMESTEPS = 12
# Read out through location tokens, which the head of fine-tuning does not know: evaluated only,
# so these are not among ENCODER_NAMES.
EVALUATED_WIDTHS = {"olmoearth_v1_3_base": 768}
DROP_PATH = 0.1


@dataclass(frozen=True)
class Architecture:
    """One OlmoEarth architecture.

    Attributes:
        name: as in an experiment, `olmoearth_v1_2_nano`.
        version: `v1`, `v1_1`, `v1_2` or `v1_3`.
        size: `nano`, `tiny`, `small`, `base` or `large`.
        embedding_size: channels of a token.
    """

    name: str
    version: str
    size: str
    embedding_size: int

    @property
    def hub_id(self) -> str:
        """The repository its published weights lie in, `allenai/OlmoEarth-v1_2-Nano`."""
        return f"allenai/OlmoEarth-{self.version}-{self.size.capitalize()}"


def architecture(name: str) -> Architecture:
    """The architecture of a name.

    Raises:
        WeightsError: no architecture has this name.
    """
    widths = OLMOEARTH_WIDTHS | EVALUATED_WIDTHS
    if name not in widths:
        raise WeightsError(
            f"No encoder is named {name!r}",
            where="encoder",
            fix=f"Use one of {', '.join(ENCODER_NAMES)}",
        )
    version, size = name.removeprefix("olmoearth_").rsplit("_", 1)
    return Architecture(name, version, size, widths[name])


def model_config(arch: Architecture) -> LatentMIMConfig:
    """Configuration of encoder and decoder, as `OlmoEarthPretrain_v1` assembles it."""
    size: dict[str, Any] = published.MODEL_SIZE_CONFIGS[f"{arch.size}_shallow_decoder"]
    encoder_extra: dict[str, Any] = {}
    decoder_extra: dict[str, Any] = {}
    if arch.version != "v1":
        tokenization = TokenizationConfig(
            overrides={
                name: ModalityTokenization(band_groups=groups)
                for name, groups in published.V1_1_BAND_GROUPS.items()
            }
        )
        hidden = (
            published.V1_1_PATCH_EMBED_HIDDEN_SIZES
            if arch.version == "v1_1"
            else published.V1_2_PATCH_EMBED_HIDDEN_SIZES
        )
        decoder_extra = {"tokenization_config": tokenization}
        encoder_extra = {
            "tokenization_config": tokenization,
            "use_linear_patch_embed": True,
            "patch_embed_hidden_sizes": hidden[arch.size],
            "band_dropout_rate": published.V1_1_BAND_DROPOUT_RATE,
            "random_band_dropout": True,
            "band_dropout_modalities": published.V1_1_BAND_DROPOUT_MODALITIES,
        }
    if arch.version in ("v1_2", "v1_3"):
        rope = {
            "position_encoding": published.V1_2_POS_ENCODING,
            "rope_temporal_coordinate_scale": published.V1_2_ROPE_TEMPORAL_COORDINATE_SCALE,
        }
        encoder_extra |= rope | {"rope_mixed_base": published.V1_2_ROPE_MIXED_BASE}
        decoder_extra |= rope
    if arch.version == "v1_3":
        encoder_extra["attention_pooler_config"] = AttentionPoolerConfig(
            pooler_dim=arch.embedding_size,
            pooler_depth=published.V1_3_ATTENTION_POOLER_DEPTH,
            per_depth_read_proj=True,
            attn_dim=arch.embedding_size,
            student_dims=published.V1_3_ATTENTION_POOLER_STUDENT_DIMS,
            student_output_norm=True,
        )
        decoder_extra |= {
            "position_encoding": published.V1_3_DECODER_POS_ENCODING,
            "use_attention_pooler": True,
            "pooler_dim": arch.embedding_size,
        }
    shared = {
        "supported_modality_names": list(published.DEFAULT_MODALITIES),
        "max_sequence_length": MAX_TIMESTEPS,
        "mlp_ratio": size["mlp_ratio"],
    }
    return LatentMIMConfig(
        encoder_config=EncoderConfig(
            embedding_size=arch.embedding_size,
            num_heads=size["encoder_num_heads"],
            depth=size["encoder_depth"],
            max_patch_size=MAX_PATCH_SIZE,
            drop_path=DROP_PATH,
            **shared,
            **encoder_extra,
        ),
        decoder_config=PredictorConfig(
            encoder_embedding_size=arch.embedding_size,
            decoder_embedding_size=size["decoder_embedding_size"],
            depth=size["decoder_depth"],
            num_heads=size["decoder_num_heads"],
            **shared,
            **decoder_extra,
        ),
        projection_only_target=arch.version == "v1_3",
    )


def bundle_config(arch: Architecture) -> dict[str, Any]:
    """The `config.json` of a model folder, readable by `load_model_from_path` and rslearn.

    `only_decode_modalities` is required by the loader: it says what the encoder never read.
    """
    decode_only = [m for m in published.DEFAULT_MODALITIES if m not in ENCODER_MODALITIES]
    strategy = {"strategy_config": {"only_decode_modalities": decode_only}}
    return {
        "model": model_config(arch).as_config_dict(),
        "train_module": {"masking_config": strategy},
    }
