"""An RDM of seven collections on loopback."""

import pytest

from tests.rdm_clients import DATA
from tests.servers.label_files import record
from tests.servers.rdm_server import RdmServer


@pytest.fixture
def rdm():
    with RdmServer() as server:
        for i in range(7):
            server.add(record(f"c{i}"), DATA)
        yield server
