"""Names of the encoders, apart from their code so that a task file is checked without torch."""

PRESTO = "presto"
# Token channels by name. A test compares the list with what olmoearth_pretrain_minimal offers.
OLMOEARTH_WIDTHS = {
    "olmoearth_v1_nano": 128,
    "olmoearth_v1_tiny": 192,
    "olmoearth_v1_base": 768,
    "olmoearth_v1_large": 1024,
    "olmoearth_v1_1_nano": 128,
    "olmoearth_v1_1_tiny": 192,
    "olmoearth_v1_1_base": 768,
    "olmoearth_v1_2_nano": 128,
    "olmoearth_v1_2_tiny": 192,
    "olmoearth_v1_2_small": 384,
    "olmoearth_v1_2_base": 768,
}
ENCODER_NAMES = (*sorted(OLMOEARTH_WIDTHS), PRESTO)
MAX_PATCH_SIZE = 8
