"""Label rules: from the label a source gives to the class a task learns.

A rule is versioned, because a score means nothing without it: changing what a rule does means
changing its version. Every rule says which labels it leaves out on purpose (`IGNORED`) and tells
them from labels nobody has heard of (`UNKNOWN`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from geofm_assets.core.errors import ConfigError
from geofm_assets.core.hashing import json_digest
from geofm_assets.labels.config import IDENTITY_RULE, LabelsConfig
from geofm_assets.labels.worldcereal.legend import (
    IGNORE,
    LANDCOVER10_CLASSES,
    known_codes,
    landcover10,
    level_1,
)

IGNORED = -1
UNKNOWN = -2

_AI2_CROPLAND = frozenset({10, 11, 12, 14, 15})
_TEMPORARY_FROM, _TEMPORARY_TO = 1_100_000_000, 1_115_000_000  # both exclusive
_TEMPORARY_AMBIGUOUS = frozenset({10, 14, 16, 17})


@dataclass(frozen=True)
class LabelRule:
    """How labels become classes.

    Attributes:
        name: as in the task file.
        version: changes whenever the same label could get another class.
        classes: class names; the index is the class id.
        positive: the class that counts as positive where there are two, else None.
    """

    name: str
    version: str
    classes: tuple[str, ...]
    positive: str | None
    _classify: Callable[[str], int] = field(repr=False, compare=False)

    @property
    def label(self) -> str:
        """Name and version, as recorded with scores and maps."""
        return f"{self.name}@{self.version}"

    def apply(self, label_raw: pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Class ids of labels.

        Args:
            label_raw: strings, length n.

        Returns:
            int16, shape (n,): the class id, `IGNORED` (-1) or `UNKNOWN` (-2; also for null).
        """
        if isinstance(label_raw, pa.ChunkedArray):
            label_raw = label_raw.combine_chunks()
        encoded = label_raw.cast(pa.string()).dictionary_encode()
        ids = [self._classify(text) for text in encoded.dictionary.to_pylist()]
        lookup = np.array([*ids, UNKNOWN], dtype=np.int16)
        return lookup[np.asarray(pc.fill_null(encoded.indices, len(ids)))]


def get_rule(config: LabelsConfig) -> LabelRule:
    """The rule a task asks for.

    Raises:
        ConfigError: rule `identity` without classes, or with classes that contradict each other.
    """
    if config.rule == IDENTITY_RULE:
        return _identity(config)
    return _WORLDCEREAL_RULES[config.rule]


def _code(text: str) -> int | None:
    """A known code, or None."""
    if len(text) != 10 or not (text.isascii() and text.isdigit()):
        return None
    code = int(text)
    return code if known_codes(np.array([code]))[0] else None


def _ai2_v1(text: str) -> int:
    """Cropland is level_1 in {10, 11, 12, 14, 15}, everything else is not; code 0 is ignored.

    The rule of rslearn_projects' WorldCereal model. It calls fallow, temporary grass and
    greenhouses cropland and level 17 ("may be perennial cropland") non-cropland, where
    WorldCereal's own classes differ.
    """
    code = _code(text)
    if code is None:
        return UNKNOWN
    if code == 0:
        return IGNORED
    return 0 if level_1(code) in _AI2_CROPLAND else 1


def _temporary(text: str) -> int:
    """WorldCereal's temporary crops: 1100000000 < code < 1115000000.

    Ignored, because they may or may not hold temporary crops: 0, cropland unspecified (10),
    temporary crops unspecified (1100000000 itself, which WorldCereal's filter leaves out), fallow
    (1115), mixed cropland (14) and the residual classes 16 and 17. Greenhouses (15) are built-up in
    WorldCereal's land cover, so they count as other.
    """
    code = _code(text)
    if code is None:
        return UNKNOWN
    if _TEMPORARY_FROM < code < _TEMPORARY_TO:
        return 0
    if code == 0 or level_1(code) == 11 or level_1(code) in _TEMPORARY_AMBIGUOUS:
        return IGNORED
    return 1


def _landcover10(text: str) -> int:
    """WorldCereal's LANDCOVER10 classes, with its `ignore`."""
    code = _code(text)
    if code is None:
        return UNKNOWN
    name = landcover10(code)
    return IGNORED if name == IGNORE else LANDCOVER10_CLASSES.index(name)


def _identity(config: LabelsConfig) -> LabelRule:
    if not config.classes:
        raise ConfigError(
            "Rule identity has no classes",
            where="labels.classes",
            fix="List the class names, in the order of their ids (geofm new-task writes them)",
        )
    classes = tuple(name.strip() for name in config.classes)
    ignored = frozenset(name.strip() for name in config.ignore)
    if len(classes) < 2 or len(set(classes)) < len(classes) or not all(classes):
        raise ConfigError(
            f"Class names must be two or more, distinct and not blank, not {list(classes)}",
            where="labels.classes",
        )
    if both := ignored & set(classes):
        raise ConfigError(
            f"{sorted(both)} stand under classes and under ignore", where="labels.ignore"
        )
    ids = {name: index for index, name in enumerate(classes)}

    def classify(text: str) -> int:
        return IGNORED if text in ignored else ids.get(text, UNKNOWN)

    # The mapping is the rule, so its version follows from it.
    version = "1-" + json_digest([list(classes), sorted(ignored)])[:8]
    return LabelRule(IDENTITY_RULE, version, classes, None, classify)


_WORLDCEREAL_RULES = {
    rule.name: rule
    for rule in (
        LabelRule("ai2_v1", "1", ("Cropland", "Non-Cropland"), "Cropland", _ai2_v1),
        LabelRule(
            "worldcereal_temporary",
            "1",
            ("Temporary crops", "Other"),
            "Temporary crops",
            _temporary,
        ),
        LabelRule("worldcereal_landcover10", "1", LANDCOVER10_CLASSES, None, _landcover10),
    )
}
