"""Ways to keep cells of windows, one class each; `formats` measures them."""

import io
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import lance
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import webdataset
import zarr
from zarr.codecs import BloscCodec, ZstdCodec

from geofm_assets.imagery.bands import LAYERS
from geofm_assets.imagery.cell_file import LayerMosaics, checksums, write_cell_file
from geofm_assets.imagery.chip_reader import open_packed

S2, S1 = "sentinel2_l2a", "sentinel1"
LAYER_NAMES = (S2, S1)
MONTHS, SIZE, A_CELL = 12, 32, 48
Pixels = dict[str, np.ndarray]
Window = Callable[[int], Pixels]


class Format(Protocol):
    """A way to keep cells of windows.

    Attributes:
        name: in the table.
    """

    name: str

    def write(self, folder: Path, number: int, cell: Pixels) -> None:
        """Keep a cell: by layer (N, T, C, H, W)."""

    def open(self, folder: Path) -> Window:
        """A function that gives a window (T, C, H, W) by its number."""

    def scan(self, folder: Path) -> Iterator[Pixels]:
        """All windows in order."""


class Packed:
    """Ours: a safetensors file a cell; every window compared with its checksum as it is read."""

    name = "packed safetensors (ours)"

    def write(self, folder: Path, number: int, cell: Pixels) -> None:
        layers = {}
        times = np.zeros((A_CELL, MONTHS, 2), np.int64)
        there = np.ones((A_CELL, MONTHS), bool)
        groups = [[[0]] * MONTHS] * A_CELL
        for name, values in cell.items():
            sums = checksums(values)
            layers[name] = LayerMosaics(values, there, times, times, sums, [{}], groups)
        windows = [{"window_name": f"w{number * A_CELL + i}"} for i in range(A_CELL)]
        write_cell_file(folder / f"{number:05d}", str(number), windows, layers, simulated=True)

    def open(self, folder: Path) -> Window:
        files = [open_packed(path) for path in sorted(folder.glob("*/*.safetensors"))]

        def window(at: int) -> Pixels:
            return {name: files[at // A_CELL].row(name, at % A_CELL) for name in LAYER_NAMES}

        return window

    def scan(self, folder: Path) -> Iterator[Pixels]:
        window = self.open(folder)
        return (window(i) for i in range(_cells(folder, "*/*.safetensors") * A_CELL))


class Zarr:
    """Zarr 3: an array a layer and cell, one chunk a window."""

    def __init__(self, name: str, compressor: Any, sharded: bool = False) -> None:
        self.name, self.compressor, self.sharded = name, compressor, sharded

    def write(self, folder: Path, number: int, cell: Pixels) -> None:
        for name, values in cell.items():
            array = zarr.create_array(
                store=folder / f"{number:05d}" / name,
                shape=values.shape,
                chunks=(1, *values.shape[1:]),
                shards=values.shape if self.sharded else None,
                dtype=values.dtype,
                compressors=self.compressor,
                fill_value=0,
            )
            array[:] = values

    def open(self, folder: Path) -> Window:
        cells = [
            {name: zarr.open_array(cell / name, mode="r") for name in LAYER_NAMES}
            for cell in sorted(folder.iterdir())
        ]

        def window(at: int) -> Pixels:
            arrays = cells[at // A_CELL]
            return {name: np.asarray(arrays[name][at % A_CELL]) for name in LAYER_NAMES}

        return window

    def scan(self, folder: Path) -> Iterator[Pixels]:
        for cell in sorted(folder.iterdir()):
            arrays = {name: zarr.open_array(cell / name, mode="r") for name in LAYER_NAMES}
            whole = {name: np.asarray(array[:]) for name, array in arrays.items()}
            yield from ({name: whole[name][i] for name in LAYER_NAMES} for i in range(A_CELL))


class WebDataset:
    """A tar a cell with two .npy a window; one window is found by reading on to it."""

    name = "WebDataset, a tar a cell"

    def write(self, folder: Path, number: int, cell: Pixels) -> None:
        with webdataset.TarWriter(str(folder / f"{number:05d}.tar")) as sink:
            for i in range(A_CELL):
                parts = {f"{name}.npy": values[i] for name, values in cell.items()}
                sink.write({"__key__": f"w{number * A_CELL + i}", **parts})

    def open(self, folder: Path) -> Window:
        shards = sorted(folder.glob("*.tar"))

        def window(at: int) -> Pixels:
            wanted = {f"w{at}.{name}.npy": name for name in LAYER_NAMES}
            found: Pixels = {}
            with tarfile.open(shards[at // A_CELL]) as tar:
                for member in tar:
                    if member.name in wanted:
                        data = tar.extractfile(member)
                        assert data is not None
                        found[wanted[member.name]] = np.load(io.BytesIO(data.read()))
                    if len(found) == len(wanted):
                        break
            return found

        return window

    def scan(self, folder: Path) -> Iterator[Pixels]:
        shards = [str(path) for path in sorted(folder.glob("*.tar"))]
        for sample in webdataset.WebDataset(shards, shardshuffle=False).decode():
            yield {name: sample[f"{name}.npy"] for name in LAYER_NAMES}


def _table(number: int, cell: Pixels) -> pa.Table:
    rows = {name: [row.tobytes() for row in values] for name, values in cell.items()}
    names = [f"w{number * A_CELL + i}" for i in range(A_CELL)]
    columns = [pa.array(rows[name], pa.large_binary()) for name in LAYER_NAMES]
    return pa.table([pa.array(names), *columns], names=["window_name", *LAYER_NAMES])


def _pixels(name: str, data: pa.Scalar) -> np.ndarray:
    spec = LAYERS[name]
    flat = np.frombuffer(data.as_buffer(), spec.dtype)
    return flat.reshape(MONTHS, len(spec.bands), SIZE, SIZE)


class Lance:
    """Lance: one dataset, pixels as bytes, a fragment a cell."""

    name = "Lance"

    def write(self, folder: Path, number: int, cell: Pixels) -> None:
        mode = "append" if number else "create"
        lance.write_dataset(_table(number, cell), folder / "all.lance", mode=mode)

    def open(self, folder: Path) -> Window:
        dataset = lance.dataset(folder / "all.lance")

        def window(at: int) -> Pixels:
            table = dataset.take([at], columns=list(LAYER_NAMES))
            return {name: _pixels(name, table[name][0]) for name in LAYER_NAMES}

        return window

    def scan(self, folder: Path) -> Iterator[Pixels]:
        dataset = lance.dataset(folder / "all.lance")
        for batch in dataset.to_batches(columns=list(LAYER_NAMES), batch_size=A_CELL):
            for i in range(batch.num_rows):
                yield {name: _pixels(name, batch[name][i]) for name in LAYER_NAMES}


class Parquet:
    """Parquet: a file a cell, pixels as bytes, a row group a window."""

    def __init__(self, name: str, compression: str) -> None:
        self.name, self.compression = name, compression

    def write(self, folder: Path, number: int, cell: Pixels) -> None:
        pq.write_table(
            _table(number, cell),
            folder / f"{number:05d}.parquet",
            row_group_size=1,
            compression=self.compression,
            use_dictionary=False,
            write_statistics=False,
        )

    def open(self, folder: Path) -> Window:
        files = [pq.ParquetFile(path) for path in sorted(folder.glob("*.parquet"))]

        def window(at: int) -> Pixels:
            table = files[at // A_CELL].read_row_group(
                at % A_CELL, columns=list(LAYER_NAMES), use_threads=False
            )
            return {name: _pixels(name, table[name][0]) for name in LAYER_NAMES}

        return window

    def scan(self, folder: Path) -> Iterator[Pixels]:
        window = self.open(folder)
        return (window(i) for i in range(_cells(folder, "*.parquet") * A_CELL))


def _cells(folder: Path, pattern: str) -> int:
    return len(list(folder.glob(pattern)))


FORMATS: tuple[Format, ...] = (
    Packed(),
    Zarr("Zarr 3, a chunk a window, uncompressed", None),
    Zarr("Zarr 3, a chunk a window, zstd", ZstdCodec(level=3)),
    Zarr("Zarr 3, a chunk a window, blosc (lz4, shuffle)", BloscCodec(cname="lz4")),
    Zarr("Zarr 3, a shard a cell, uncompressed", None, sharded=True),
    WebDataset(),
    Lance(),
    Parquet("Parquet, a row group a window, uncompressed", "none"),
    Parquet("Parquet, a row group a window, zstd", "zstd"),
)
