"""Clients of an RDM server on loopback, and the file its collections have."""

import io

import pyarrow as pa
import pyarrow.parquet as pq

from geofm_assets.labels.worldcereal.rdm import HttpRdm
from tests.servers.label_files import record


def parquet_bytes(rows=100_000, seed=0) -> bytes:
    """Some 800 kB of Parquet: many times the client's chunk."""
    sink = io.BytesIO()
    values = pa.array([(i * 2654435761 + seed) % 2**61 for i in range(rows)])
    table = pa.table({"a": values})
    pq.write_table(table, sink, use_dictionary=False, compression="none")
    return sink.getvalue()


DATA = parquet_bytes()


def client(server, **options) -> HttpRdm:
    defaults = {"timeout_s": 5.0, "retries": 3, "backoff_s": 0.001, "page_size": 2}
    return HttpRdm(server.url, **(defaults | options))


def fetch(server, folder, **options):
    return client(server, **options).fetch(record("c0"), folder)
