"""Ids that repeat are found wherever they lie, without holding the ids."""

from collections import Counter
from unittest import mock

import numpy as np
import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from geofm_assets.labels.duplicates import IdHashes, id_hashes


def hashes(ids: list[str]) -> np.ndarray:
    return id_hashes(pa.chunked_array([pa.array(ids, pa.string())]))


@settings(deadline=None, max_examples=60)
@given(st.lists(st.lists(st.integers(0, 60).map(str), max_size=20), max_size=6), st.integers(1, 50))
def test_what_repeats_is_found_across_batches_and_buckets(tmp_path_factory, batches, bucket):
    folder = tmp_path_factory.mktemp("ids")
    rows = sum(map(len, batches))
    with (
        mock.patch("geofm_assets.labels.duplicates._ROWS_A_BUCKET", bucket),
        IdHashes(rows, folder) as ids,
    ):
        for batch in batches:
            ids.add(hashes(batch))
        found = set(ids.repeated().tolist())
    counts = Counter(i for batch in batches for i in batch)
    twice = [i for i, count in counts.items() if count > 1]
    assert found == set(hashes(twice).tolist())
    assert list(folder.iterdir()) == []
