"""The grid of models and datasets: names of its partitions."""

from dataclasses import dataclass

from geofm_assets.core.errors import ConfigError

MODELS = "eval_models"
DATASETS = "eval_datasets"
_BETWEEN = "|"
_FORBIDDEN = ("...", "\a", "\b", "\f", "\n", "\r", "\t", "\v", "\0", ",", "[", "]", _BETWEEN)


@dataclass(frozen=True)
class Cell:
    """A model on a dataset.

    Attributes:
        model: name, with its weights if it says any.
        dataset: name in the registry.
    """

    model: str
    dataset: str

    @property
    def partition(self) -> str:
        """Key of the partition: dimensions in alphabetical order, as Dagster joins them."""
        return f"{self.dataset}{_BETWEEN}{self.model}"

    @classmethod
    def parse(cls, partition: str) -> "Cell":
        """The cell of a partition's key.

        Raises:
            ConfigError: it is not one.
        """
        dataset, between, model = partition.partition(_BETWEEN)
        if not (dataset and between and model):
            raise ConfigError(
                "Not a partition of a model and a dataset", where=partition, fix="dataset|model"
            )
        return cls(model, dataset)


def require_partition_name(model: str) -> str:
    """A model's name, if a partition can have it.

    Raises:
        ConfigError: it holds something no partition's key may hold.
    """
    bad = next((part for part in _FORBIDDEN if part in model), None)
    if bad is not None or not model:
        raise ConfigError(
            f"A model's name may not hold {bad!r}" if bad else "A model has no name",
            where=f"--model {model!r}",
            fix="Choose another name, or another folder for its weights",
        )
    return model
