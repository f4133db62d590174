"""The errors a user can meet. Each message says what, where, and what to do."""

from geofm_assets.core.redact import redact


class GeofmError(Exception):
    """Base of every error this package raises on purpose. Secrets are taken out of all it says.

    Args:
        what: what went wrong, in one sentence.
        where: the file, row, field, URL or key it went wrong at.
        fix: what the user can do about it.
    """

    def __init__(self, what: str, *, where: str = "", fix: str = "") -> None:
        what, where, fix = redact(what), redact(where), redact(fix)
        self.what, self.where, self.fix = what, where, fix
        parts = [what.rstrip(".")]
        if where:
            parts.append(f"at {where}")
        message = " ".join(parts) + "."
        super().__init__(f"{message} {fix.rstrip('.')}." if fix else message)


class ConfigError(GeofmError):
    """A setting or a task file is wrong."""


class StoreError(GeofmError, OSError):
    """The store cannot be read or written."""


class LockError(GeofmError):
    """Another process holds a lock of the store, or it was lost, or there can be none."""


class SourceUnavailableError(GeofmError):
    """A source outside this machine did not answer within its retries."""


class AddressRefusedError(SourceUnavailableError):
    """An address leads to a host or by a scheme that is not allowed; trying again is no use."""


class DownloadError(GeofmError):
    """A download ended with the wrong length or checksum."""


class LabelFileError(GeofmError):
    """A label file as a whole cannot be used (no geometry, a missing column, not a table)."""


class SchemaError(GeofmError):
    """A table does not satisfy its schema."""


class DuplicateSampleError(GeofmError):
    """Two rows share a `sample_id`."""


class SplitError(GeofmError):
    """No split satisfies what the task asks of it."""


class WindowError(GeofmError):
    """A point cannot be made a window (a pole, a date outside the calendar)."""


class ImageryError(GeofmError):
    """Imagery is missing, unreadable or not what its index says."""


class ContractError(GeofmError):
    """Band order, dtype, scale, nodata or range is not what the model expects."""


class WeightsError(GeofmError):
    """Weights were not loaded as they must be."""


class ExperimentError(GeofmError):
    """An experiment cannot exist or cannot be run."""


class TrainingError(GeofmError):
    """A training under way could not go on."""


class RegistryError(GeofmError):
    """The registry of evaluation datasets cannot be read or changed."""


class DatasetError(GeofmError):
    """An evaluation dataset is not what it must be, or something about it must be said."""


class ModelInputError(GeofmError):
    """A dataset lacks what a model cannot do without."""


class RequestError(GeofmError):
    """A request for a map cannot be used."""


class MapError(GeofmError):
    """A map's tiles do not fit together, or what is to be made of them cannot be."""
