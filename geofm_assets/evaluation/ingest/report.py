"""What a look at a source found: everything, not only the first thing; and what an ingest did."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from geofm_assets.core.errors import DatasetError, GeofmError
from geofm_assets.evaluation.registry.entry import DatasetEntry

Level = Literal["error", "warning"]
_LISTED = 3
_NAMED = 10


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong, or worth knowing.

    Attributes:
        level: an error keeps the dataset from being registered.
        what: in one sentence.
        where: file, window, field or flag.
        fix: what to do.
    """

    level: Level
    what: str
    where: str = ""
    fix: str = ""

    def __str__(self) -> str:
        place = f" at {self.where}" if self.where else ""
        return f"{self.level}: {self.what}{place}." + (f" {self.fix}." if self.fix else "")


@dataclass(frozen=True)
class Fact:
    """Something that was inferred or said: `field` is `value`, because of `source`."""

    field: str
    value: str
    source: str


@dataclass
class Findings:
    """Gathers findings; the same trouble of many windows becomes one that counts them."""

    _single: list[Finding] = field(default_factory=list)
    _many: dict[tuple[Level, str, str], list[tuple[str, str]]] = field(default_factory=dict)

    def add(self, level: Level, what: str, where: str = "", fix: str = "") -> None:
        """Something of the dataset as a whole."""
        self._single.append(Finding(level, what, where, fix))

    def add_error(self, error: GeofmError) -> None:
        """What a part that could not go on raised."""
        self._single.append(Finding("error", error.what.rstrip("."), error.where, error.fix))

    def add_window(
        self, level: Level, what: str, window: str, fix: str = "", detail: str = ""
    ) -> None:
        """Something of one window.

        Args:
            level: whether it keeps the dataset out.
            what: the same for every window that has it.
            window: its sample id.
            fix: what to do, likewise.
            detail: what only this window's says (a file, a message); that of the first is shown.
        """
        self._many.setdefault((level, what, fix), []).append((window, detail))

    def all(self) -> tuple[Finding, ...]:
        """Everything, errors first, in a fixed order."""
        found = list(self._single)
        for (level, what, fix), windows in self._many.items():
            held = sorted(windows)
            names = ", ".join(name for name, _ in held[:_LISTED])
            shown = names + (", ..." if len(held) > _LISTED else "")
            detail = next((f": {said}" for _, said in held if said), "")
            count = "1 window" if len(held) == 1 else f"{len(held)} windows"
            found.append(Finding(level, f"{what} ({count})", f"window {shown}{detail}", fix))
        return tuple(sorted(found, key=lambda f: (f.level, f.what, f.where)))


@dataclass(frozen=True)
class ValidationReport:
    """Everything that was found of a source.

    Attributes:
        findings: errors first.
        facts: what was inferred, and from where.
        windows: how many were looked at.
        counts: windows by split, as they would be ingested; empty if that is not known.
    """

    findings: tuple[Finding, ...]
    facts: tuple[Fact, ...] = ()
    windows: int = 0
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that keep the dataset out."""
        return tuple(f for f in self.findings if f.level == "error")

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """The others."""
        return tuple(f for f in self.findings if f.level == "warning")

    @property
    def passed(self) -> bool:
        """Whether the dataset can be ingested."""
        return not self.errors

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "passed": self.passed,
            "windows": self.windows,
            "counts": dict(self.counts),
            "findings": [vars(f).copy() for f in self.findings],
            "facts": [vars(f).copy() for f in self.facts],
        }

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> "ValidationReport":
        """What `as_json` said."""
        findings = tuple(Finding(**found) for found in said["findings"])
        facts = tuple(Fact(**fact) for fact in said["facts"])
        return cls(findings, facts, said["windows"], said["counts"])

    def require_passed(self, where: str) -> None:
        """Raise one error that says all of them.

        Raises:
            DatasetError: there are errors.
        """
        errors = self.errors
        if not errors:
            return
        if len(errors) == 1:
            place = errors[0].where
            raise DatasetError(
                errors[0].what,
                where=place if where in place else f"{where}, {place}" if place else where,
                fix=errors[0].fix,
            )
        listed = [f"{e.what}{f' at {e.where}' if e.where else ''}" for e in errors[:_NAMED]]
        more = f"; and {len(errors) - _NAMED} more" if len(errors) > _NAMED else ""
        raise DatasetError(
            f"{len(errors)} things are wrong with the dataset: {'; '.join(listed)}{more}",
            where=where,
            fix="; ".join(dict.fromkeys(e.fix for e in errors[:_NAMED] if e.fix)),
        )


@dataclass(frozen=True)
class IngestResult:
    """What an ingest came to.

    Attributes:
        entry: what the registry says, or would say.
        inferred: what was inferred, and from where.
        report: what validation found.
        sheets: store keys of the contact sheets.
        skipped: everything was there already.
    """

    entry: DatasetEntry
    inferred: tuple[Fact, ...]
    report: ValidationReport
    sheets: tuple[str, ...]
    skipped: bool = False


def level_counts(findings: Sequence[Finding]) -> dict[str, int]:
    """Errors and warnings, counted."""
    found = Counter(f.level for f in findings)
    return {"error": found["error"], "warning": found["warning"]}
