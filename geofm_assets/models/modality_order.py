"""One order of modalities in every process.

olmoearth-pretrain-minimal 0.1.5 gathers the modalities of a sample in a set of strings, whose
order changes with Python's hash seed, and sums over them in that order: the same training then
ends in other last digits in every other process. Importing this module puts them in the order
the model lists them.
"""

from collections.abc import Sequence

from olmoearth_pretrain_minimal.olmoearth_pretrain_v1.nn import flexi_vit


def modalities_in_order(
    available_modalities: Sequence[str], supported_modality_names: Sequence[str]
) -> list[str]:
    """Supported modalities that are available, in the order they are supported."""
    available = set(available_modalities)
    return [name for name in supported_modality_names if name in available]


flexi_vit.get_modalities_to_process = modalities_in_order
