"""A window is read the same way from this machine, from memory and over HTTP."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from upath import UPath

from geofm_assets.core.errors import GeofmError, ImageryError, SourceUnavailableError
from geofm_assets.imagery import chip_reader
from geofm_assets.imagery.chip_reader import MappedChips, RangedChips, open_packed
from tests.packed_files import NAMES, S1, S2, flip_bit, header_of, pixels, rewrite, write
from tests.servers.range_server import RangeServer, serve


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write(tmp_path)


@pytest.fixture
def server(path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[RangeServer]:
    monkeypatch.setattr(chip_reader, "TIMEOUT_S", 0.3)
    monkeypatch.setattr(chip_reader, "_FIRST_PAUSE_S", 0.01)
    with serve(path.parent) as running:
        yield running


@pytest.fixture
def places(path: Path, server: RangeServer) -> dict[str, Path | UPath]:
    """The same file, locally, in memory and over HTTP."""
    memory = UPath(f"memory://chips/{path.name}")
    memory.write_bytes(path.read_bytes())
    return {
        "path": path,
        "upath": UPath(path),
        "memory": memory,
        "http": UPath(f"{server.url}/{path.name}"),
    }


PLACES = pytest.mark.parametrize("place", ["path", "upath", "memory", "http"])


@PLACES
def test_pixels_are_the_same_everywhere(places: dict[str, Path | UPath], place: str) -> None:
    chips = open_packed(places[place])
    assert chips.window_names == NAMES
    for layer, array in pixels().items():
        for row in (2, 0, 1):
            np.testing.assert_array_equal(chips.row(layer, row), array[row])
            assert not chips.row(layer, row).flags.writeable


@PLACES
def test_small_arrays_are_the_same_everywhere(places: dict[str, Path | UPath], place: str) -> None:
    chips, mapped = open_packed(places[place]), open_packed(places["path"])
    for layer in (S1, S2):
        for part in ("shape", "present", "timestamps", "periods", "checksums"):
            found, wanted = (getattr(c.layers[layer], part) for c in (chips, mapped))
            np.testing.assert_array_equal(found, wanted)


def test_local_files_are_mapped_and_others_are_not(places: dict[str, Path | UPath]) -> None:
    assert isinstance(open_packed(places["upath"]), MappedChips)
    assert isinstance(open_packed(places["memory"]), RangedChips)


@PLACES
def test_a_flipped_bit_is_named(places: dict[str, Path | UPath], path: Path, place: str) -> None:
    flip_bit(path, f"{S2}/values", at=2 * 3 * 12 * 16)
    if place == "memory":
        UPath(places["memory"]).write_bytes(path.read_bytes())
    chips = open_packed(places[place])
    with pytest.raises(ImageryError, match=f"{path.name}, {S2}, row 1, window w1"):
        chips.row(S2, 1)


@PLACES
def test_a_flipped_bit_of_a_small_array_is_found(
    places: dict[str, Path | UPath], path: Path, place: str
) -> None:
    flip_bit(path, f"{S2}/present")
    if place == "memory":
        UPath(places["memory"]).write_bytes(path.read_bytes())
    with pytest.raises(ImageryError, match=f"{S2}/present is not what was written"):
        open_packed(places[place])


@PLACES
def test_a_missing_file_is_refused(places: dict[str, Path | UPath], place: str) -> None:
    with pytest.raises(ImageryError, match=r"The packed file is missing at .*rasters-0"):
        open_packed(places[place].parent / "rasters-0.safetensors")


def test_a_window_costs_one_request_of_its_size(path: Path, server: RangeServer) -> None:
    chips = open_packed(UPath(f"{server.url}/{path.name}"))
    opened = len(server.asked)
    chips.row(S1, 1)
    begin = header_of(path)[1] + header_of(path)[0][f"{S1}/values"]["data_offsets"][0]
    size = 3 * 2 * 16 * 4
    assert opened == 1
    assert [r for _, r in server.asked[1:]] == [f"bytes={begin + size}-{begin + 2 * size - 1}"]


def test_a_header_longer_than_the_first_read(
    path: Path, server: RangeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chip_reader, "HEAD_BYTES", 100)
    chips = open_packed(UPath(f"{server.url}/{path.name}"))
    np.testing.assert_array_equal(chips.row(S2, 0), pixels()[S2][0])


@pytest.mark.parametrize("trouble", [503, 429, "hang", "drop"])
def test_a_passing_trouble_is_tried_again(
    path: Path, server: RangeServer, trouble: int | str
) -> None:
    chips = open_packed(UPath(f"{server.url}/{path.name}"))
    server.next = [trouble]
    np.testing.assert_array_equal(chips.row(S2, 0), pixels()[S2][0])


@pytest.mark.parametrize(
    ("trouble", "error", "says"),
    [
        ([503] * 4, SourceUnavailableError, "could not be read in 4 attempts .*503"),
        (["hang"] * 4, SourceUnavailableError, "could not be read in 4 attempts .*Timeout"),
        (["drop"] * 4, SourceUnavailableError, "could not be read in 4 attempts"),
        ([400], SourceUnavailableError, "could not be read in 1 attempts .*400"),
        ([404], ImageryError, "The packed file is missing"),
        ([403], ImageryError, "may not be read"),
        (["short"], ImageryError, r"it ends \d+ bytes early"),
        ([416], ImageryError, "it ends 1152 bytes early"),
        (["whole"], ImageryError, "sent 7706 bytes where 1152 were asked for"),
    ],
)
def test_lasting_trouble_names_file_and_row(
    path: Path,
    server: RangeServer,
    trouble: list[int | str],
    error: type[GeofmError],
    says: str,
) -> None:
    chips = open_packed(UPath(f"{server.url}/{path.name}"))
    server.next = list(trouble)
    with pytest.raises(error, match=rf"{says}.*{path.name}, {S2}, row 1, window w1"):
        chips.row(S2, 1)


def test_nobody_listening_is_said(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chip_reader, "_FIRST_PAUSE_S", 0.01)
    with serve(path.parent) as gone:
        url = f"{gone.url}/{path.name}"
    with pytest.raises(SourceUnavailableError, match="could not be read in 4 attempts"):
        open_packed(UPath(url))


@pytest.mark.parametrize("version", [1, 3])
def test_another_version_is_refused(path: Path, server: RangeServer, version: int) -> None:
    rewrite(path, lambda meta: meta.update(version=version))
    with pytest.raises(ImageryError, match=f"of version {version}"):
        open_packed(UPath(f"{server.url}/{path.name}"))


@pytest.mark.parametrize("keep", [0, 5, 300, 5000])
def test_a_file_cut_short_is_refused(path: Path, server: RangeServer, keep: int) -> None:
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ImageryError, match="Not a packed file that can be used"):
        open_packed(UPath(f"{server.url}/{path.name}"))
