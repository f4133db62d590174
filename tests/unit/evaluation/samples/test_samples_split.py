"""Splits and subsets: kept, by blocks, at random; nested, seeded, whatever the order."""

import pytest

from geofm_assets.core.errors import DatasetError
from geofm_assets.evaluation.samples.draw import draw
from geofm_assets.evaluation.samples.split import (
    Place,
    class_gaps,
    overlapping,
    split_samples,
    subset_ranks,
)

BLOCK = 1000.0


def place(
    name: str, x: float, y: float, given: str | None = None, label: str = "a", size: float = 80
) -> Place:
    return Place(name, (x, y, x + size, y + size), given, (label,))


def lattice(blocks: int, per_block: int, given: str | None = None) -> list[Place]:
    """Samples that lie apart, `per_block` to a block, two classes in every block."""
    return [
        place(f"b{b:03d}s{i}", b * BLOCK + 10 + i * 100, 10, given, "ab"[i % 2])
        for b in range(blocks)
        for i in range(per_block)
    ]


def test_a_complete_split_is_kept() -> None:
    places = [place("a", 0, 0, "train"), place("b", 1, 0, "val"), place("c", 2, 0, "test")]
    split = split_samples(places, None, 0, BLOCK)
    assert split.rule == "kept"
    assert split.by_id == {"a": "train", "b": "val", "c": "test"}


def test_kept_names_the_split_that_is_missing() -> None:
    with pytest.raises(DatasetError, match=r"no test split.*--split-rule"):
        split_samples([place("a", 0, 0, "train"), place("b", 1, 0, "val")], "kept", 0, BLOCK)


def test_windows_in_no_split_are_named_where_the_others_are_kept() -> None:
    given = ("train", "val", "test", None)
    places = [place(f"w{i}", i * 500, 0, name) for i, name in enumerate(given)]
    with pytest.raises(DatasetError, match=r"1 window is in no split of the source at window w3"):
        split_samples(places, None, 0, BLOCK)


def test_a_block_is_never_divided() -> None:
    places = lattice(40, 4)
    split = split_samples(places, None, 0, BLOCK)
    assert split.rule == "spatial_blocks"
    by_block: dict[str, set[str]] = {}
    for name, where in split.by_id.items():
        by_block.setdefault(name[:4], set()).add(where)
    assert all(len(held) == 1 for held in by_block.values())


def test_shares_are_about_seventy_fifteen_fifteen() -> None:
    counts = split_samples(lattice(100, 4), None, 0, BLOCK).counts()
    assert counts == {"train": 280, "val": 60, "test": 60}


def test_overlapping_samples_of_two_blocks_stay_together() -> None:
    far = lattice(20, 2)
    pair = [place("left", 30_950, 0), place("right", 31_000, 0)]
    split = split_samples([*far, *pair], "spatial_blocks", 3, BLOCK)
    assert split.by_id["left"] == split.by_id["right"]


def test_samples_that_touch_do_not_overlap() -> None:
    places = [place("a", 0, 0), place("b", 80, 0), place("c", 120, 0)]
    assert overlapping(places) == [(1, 2)]


def test_a_rare_class_in_one_block_goes_to_train() -> None:
    places = [*lattice(30, 2), place("rare", 60_000, 0, label="rare")]
    for seed in range(5):
        assert split_samples(places, None, seed, BLOCK).by_id["rare"] == "train"


def test_the_order_of_samples_does_not_matter() -> None:
    places = lattice(30, 3)
    assert (
        split_samples(places, None, 1, BLOCK).by_id
        == split_samples(places[::-1], None, 1, BLOCK).by_id
    )


def test_another_seed_gives_another_split() -> None:
    places = lattice(60, 2)
    assert (
        split_samples(places, None, 0, BLOCK).by_id != split_samples(places, None, 1, BLOCK).by_id
    )


def test_too_few_blocks_is_an_error_that_names_the_flag() -> None:
    with pytest.raises(DatasetError, match=r"1 separate block of.*--block-m"):
        split_samples([place("a", 0, 0), place("b", 200, 0)], None, 0, BLOCK)


@pytest.mark.parametrize(("there", "other"), [("val", "test"), ("test", "val")])
def test_where_one_split_is_missing_the_other_is_halved_by_blocks(there: str, other: str) -> None:
    train = lattice(10, 2, "train")
    rest = [
        place(f"r{b:02d}{i}", (100 + b) * BLOCK + i * 100, 0, there, "ab"[i])
        for b in range(10)
        for i in range(2)
    ]
    split = split_samples([*train, *rest], None, 0, BLOCK)
    assert split.counts() == {"train": 20, there: 10, other: 10}
    assert all(split.by_id[p.sample_id] == "train" for p in train)
    assert "halved" in split.notes[0]


def test_random_keeps_the_shares_of_every_class() -> None:
    split = split_samples(lattice(50, 4), "random", 0, BLOCK)
    for label in (0, 1):
        held = [where for name, where in split.by_id.items() if int(name[-1]) % 2 == label]
        assert [held.count(s) for s in ("train", "val", "test")] == [70, 15, 15]


def test_random_keeps_the_shares_of_mixtures_each_seen_once() -> None:
    boxes = [(i * 100.0, 0.0, i * 100.0 + 80, 80.0) for i in range(100)]
    places = [Place(f"s{i:03d}", box, None, ("a", f"c{i}")) for i, box in enumerate(boxes)]
    assert split_samples(places, "random", 0, BLOCK).counts() == {
        "train": 70,
        "val": 15,
        "test": 15,
    }


def test_class_gaps_names_splits_without_a_class() -> None:
    places = [place("a", 0, 0, label="x"), place("b", 0, 0, label="y"), place("c", 0, 0, label="y")]
    by_id = {"a": "test", "b": "train", "c": "val"}
    assert class_gaps(places, by_id) == {"x": ("train", "val"), "y": ("test",)}


def test_subsets_are_nested_and_keep_every_class() -> None:
    ids = [f"s{i:03d}" for i in range(100)]
    strata = ["common" if i % 10 else "rare" for i in range(100)]
    ranks = subset_ranks(ids, strata, 0)
    kept = {p: {i for i in ids if ranks[i] < p / 100} for p in (1, 5, 20, 100)}
    assert kept[1] < kept[5] < kept[20] < kept[100] == set(ids)
    assert [len(kept[p]) for p in (1, 20)] == [2, 20]
    rare = {i for i, stratum in zip(ids, strata, strict=True) if stratum == "rare"}
    assert all(held & rare for held in kept.values())


def test_a_rank_depends_on_the_seed_and_not_on_the_order() -> None:
    ids = [f"s{i}" for i in range(30)]
    ranks = subset_ranks(ids, [""] * 30, 0)
    assert subset_ranks(ids[::-1], [""] * 30, 0) == ranks
    assert subset_ranks(ids, [""] * 30, 1) != ranks


def test_draw_takes_the_lowest_hashes() -> None:
    ids = [f"s{i}" for i in range(50)]
    assert draw(ids, 10, 0) < draw(ids, 20, 0)
    assert draw(ids[::-1], 10, 0) == draw(ids, 10, 0)
