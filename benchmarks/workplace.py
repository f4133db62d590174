"""Where benchmarks keep generated data and stores: a cache folder that git ignores."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from benchmarks import generate_points, generate_scenes
from benchmarks.disk import require_space
from benchmarks.sizes import Sizes

DEFAULT_CACHE = Path(__file__).resolve().parent / ".cache"


@dataclass(frozen=True)
class Workplace:
    """Folders of one run.

    Attributes:
        cache: generated data, kept between runs of the same sizes.
        sizes: of the run.
    """

    cache: Path
    sizes: Sizes

    def mirror(self, rows: int) -> Path:
        """The mirror of so many rows, generated if it is not there."""
        sizes = self.sizes
        folder = self.cache / "data" / f"mirror-{rows}-{sizes.collections}-{sizes.seed}"
        return generate_points.generate(
            folder, rows, collections=sizes.collections, seed=sizes.seed
        )

    def sites(self, cells: int, windows: int, clouds: bool) -> generate_scenes.SceneWorld:
        """Scenes and points, generated if they are not there."""
        name = f"sites-{cells}-{windows}-{'clouds' if clouds else 'clear'}-{self.sizes.seed}"
        return generate_scenes.generate(
            self.cache / "data" / name, cells, windows, clouds=clouds, seed=self.sizes.seed
        )

    def work(self, name: str, *, fresh: bool = False) -> Path:
        """A folder for stores, datasets and outputs; empty if asked."""
        folder = self.cache / "work" / self.sizes.name / name
        if fresh and folder.exists():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def clear_work(self, prefix: str = "") -> None:
        """Remove stores and datasets whose name begins so; generated data stays."""
        parent = self.cache / "work" / self.sizes.name
        if not parent.is_dir():
            return
        for folder in sorted(parent.iterdir()):
            if folder.name.startswith(prefix):
                shutil.rmtree(folder)

    def require(self, size: int, what: str) -> None:
        """Refuse to begin what will not fit, see `disk.require_space`."""
        require_space(self.cache, size, what)


def linked_copy(source: Path, target: Path) -> Path:
    """A copy of hard links: cheap, and safe as files are replaced, never changed, by both sides."""
    shutil.copytree(source, target, copy_function=os.link)
    return target


def count_files(folder: Path) -> dict[str, int]:
    """Files below a folder, by the first folder of their path (`.` for its own)."""
    counts: dict[str, int] = {}
    for parent, _, files in os.walk(folder):
        parts = Path(parent).relative_to(folder).parts
        kind = parts[0] if parts else "."
        counts[kind] = counts.get(kind, 0) + len(files)
    return counts
