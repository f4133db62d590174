"""Drawing samples: shares of splits and classes, seeded, whatever the order."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from geofm_assets.evaluation.samples.draw import draw_stratified, quotas

SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=8)
Held = tuple[str, str, str]
SAMPLES = st.lists(
    st.tuples(st.sampled_from(["train", "val", "test", ""]), st.sampled_from("abc")),
    min_size=1,
    max_size=60,
)


def drawn(held: list[Held], count: int) -> set[str]:
    """Of samples of an id, a split and a class."""
    ids, splits, classes = (list(part) for part in zip(*held, strict=True))
    return draw_stratified(ids, splits, classes, count, 3)


def named(samples: list[tuple[str, str]]) -> list[Held]:
    return [(f"s{i}", split, name) for i, (split, name) in enumerate(samples)]


@given(SIZES, st.integers(1, 400))
def test_quotas_give_all_there_is_to_give_and_no_group_more_than_it_has(
    sizes: list[int], count: int
) -> None:
    given_out = quotas(sizes, count)
    assert sum(given_out) == min(count, sum(sizes))
    assert all(0 <= got <= size for got, size in zip(given_out, sizes, strict=True))
    assert all(given_out) or count < len(sizes)


@given(SIZES, st.integers(8, 400))
def test_a_larger_count_takes_no_group_anything_away(sizes: list[int], count: int) -> None:
    fewer, more = quotas(sizes, count), quotas(sizes, count + 1)
    assert all(a <= b for a, b in zip(fewer, more, strict=True))


def test_quotas_are_in_proportion() -> None:
    assert quotas([8, 4, 4], 5) == [3, 1, 1]
    assert quotas([80, 40, 40], 40) == [20, 10, 10]
    assert quotas([1, 5, 9], 2) == [0, 1, 1]


@given(SAMPLES, st.integers(4, 60), st.randoms(use_true_random=False))
def test_every_split_is_drawn_whatever_the_order(
    samples: list[tuple[str, str]], count: int, random: Random
) -> None:
    held = named(samples)
    kept = drawn(held, count)
    assert len(kept) <= count
    assert {split for key, split, _ in held if key in kept} == {split for _, split, _ in held}
    random.shuffle(held)
    assert drawn(held, count) == kept


@given(SAMPLES, st.integers(4, 60))
def test_a_class_train_has_and_was_not_drawn_there_is_drawn_nowhere_else(
    samples: list[tuple[str, str]], count: int
) -> None:
    held = named(samples)
    kept = drawn(held, count)

    def classes(split: str, among: set[str]) -> set[str]:
        return {name for key, other, name in held if other == split and key in among}

    everything = {key for key, _, _ in held}
    lost = classes("train", everything) - classes("train", kept)
    for split in ("val", "test"):
        assert not classes(split, kept) & lost or classes(split, everything) <= lost


def test_another_seed_draws_others() -> None:
    ids = [f"s{i}" for i in range(100)]
    one, other = (draw_stratified(ids, [""] * 100, [""] * 100, 20, seed) for seed in (0, 1))
    assert len(one) == len(other) == 20
    assert one != other
