"""What is said when no split serves."""

from dataclasses import dataclass

from geofm_assets.core.errors import SplitError
from geofm_assets.sampling.config import SplitConfig


@dataclass
class NearestMiss:
    """The best of the tries that failed.

    Attributes:
        missing: (class, split) pairs without a point; None before the first try.
        deviation: largest distance of a share from its fraction.
        resolution: H3 resolution of the units.
        salt: of the assignment.
    """

    missing: list[tuple[str, str]] | None = None
    deviation: float = 1.0
    resolution: int = -1
    salt: int = -1

    def offer(
        self, missing: list[tuple[str, str]], deviation: float, resolution: int, salt: int
    ) -> None:
        """Remember this try if it lacks fewer classes, or as many and strays less."""
        if self.missing is None or (len(missing), deviation) < (len(self.missing), self.deviation):
            self.missing, self.deviation = missing, deviation
            self.resolution, self.salt = resolution, salt


def units_name(config: SplitConfig) -> str:
    """What a unit is, in the plural."""
    return "H3 cells" if config.by == "h3_cell" else "groups of H3 cells"


def refusal(
    rows: int,
    config: SplitConfig,
    sizes: dict[int, int],
    best: NearestMiss,
    distance_m: float,
    tolerance: float,
    salts: int,
) -> SplitError:
    """The error for a sample that no choice of resolution and salt divides as asked.

    Args:
        rows: points in the sample.
        config: what was asked.
        sizes: units by resolution tried.
        best: the nearest miss.
        distance_m: metres promised between splits.
        tolerance: the widest that was accepted.
        salts: assignments tried at each resolution.
    """
    finest = max(sizes)
    units = f"{units_name(config)} with points"
    listed = ", ".join(f"{sizes[r]} at resolution {r}" for r in sorted(sizes))
    if sizes[finest] < config.min_units:
        return SplitError(
            f"The {rows} points lie in too few places to be split: {units} "
            f"are {listed}, and split.min_units asks for {config.min_units}",
            where="sample",
            fix="Add labels from other places, raise split.max_resolution, or lower "
            "split.min_units",
        )
    where = f"sample; nearest miss at resolution {best.resolution}, salt {best.salt}"
    if best.missing:
        lacks = " and ".join(f"class {c!r} in {s}" for c, s in best.missing)
        return SplitError(
            f"No split has every class in train, val and test: the best of {salts} assignments "
            f"a resolution still lacks {lacks} ({units}: {listed}; {distance_m:.0f} m "
            "kept between splits)",
            where=where,
            fix="Add labels of that class from other places, raise sampling.per_cell or "
            "split.max_resolution, or lower split.min_distance_m",
        )
    return SplitError(
        f"No split is within {tolerance:g} of the fractions: the nearest is off by "
        f"{best.deviation:.2f} ({units}: {listed})",
        where=where,
        fix="Add labels from other places, raise split.max_resolution, or ask for other fractions",
    )
