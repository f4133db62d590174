"""Several runs at once spare a source, whichever of them asks it."""

import threading
import time

import dagster as dg

from geofm_assets.platform.workers import QUIET, open_workers
from tests.cells_world import open_cells_world
from tests.servers.label_files import mirror
from tests.servers.rdm_server import Fault, RdmServer

LISTING, FILES = (dg.AssetKey(["worldcereal", n]) for n in ("collections", "reference_collection"))


class HeldRdm(RdmServer):
    """Answers nothing but listings until it is told to."""

    def __init__(self, folder):
        super().__init__(folder)
        self.told = threading.Event()

    def take_fault(self, target: str) -> Fault | None:
        if "SkipCount" not in target:
            self.told.wait(300)
        return super().take_fault(target)


def test_runs_of_one_instance_together_keep_the_limit_of_a_source(tmp_path, monkeypatch):
    names = [f"2021_SIM_{letter}_POINT_110" for letter in "ABCD"]
    with HeldRdm(mirror(tmp_path / "mirror", *names)) as rdm:
        variables = {"GEOFM_RDM": rdm.url, "GEOFM_POOL_RDM": "2"}
        world = open_cells_world(tmp_path, monkeypatch, "multiprocess", 40, **variables)
        world.job.execute_in_process(
            instance=world.instance, asset_selection=[LISTING], run_config=QUIET
        )
        order = list(world.instance.get_dynamic_partitions("worldcereal_collections"))
        assert len(order) == len(names)
        failures = []

        def download():
            with open_workers(world.instance, world.job, world.settings, len(order)) as workers:
                failures.extend(workers.make([FILES], order, order, lambda *_: None))

        thread = threading.Thread(target=download)
        thread.start()
        # a run for each: two of them ask, two wait for their turn
        pool, until = world.instance.event_log_storage, time.monotonic() + 240
        while pool.get_concurrency_info("rdm").pending_step_count < 2:
            assert time.monotonic() < until
            time.sleep(0.2)
        rdm.told.set()
        thread.join(240)
        assert not thread.is_alive()
        assert failures == []
        assert rdm.busiest == 2
        assert rdm.count("geoparquet") == len(names)
