"""A shell's background job, which ignores SIGINT, ends at SIGTERM, with what it started."""

import signal
import subprocess
import sys

# what `geofm` does at once, and Dagster's servers and workers after it
SERVER = """
import signal, sys, time
from dagster._utils.interrupts import setup_interrupt_handlers
setup_interrupt_handlers()
print("ready", flush=True)
time.sleep(60)
"""
GEOFM = f"""
import subprocess, sys
from geofm_assets.cli_terminal import heed_signals
heed_signals()
server = subprocess.Popen([sys.executable, "-c", {SERVER!r}], stdout=subprocess.PIPE, text=True)
assert server.stdout.readline() == "ready\\n"
print(server.pid, flush=True)
server.terminate()  # as Dagster ends its servers
server.wait(timeout=20)
from dagster._utils.interrupts import setup_interrupt_handlers
setup_interrupt_handlers()
try:
    print("served", flush=True)
    sys.stdin.read()
except KeyboardInterrupt:
    print("cleaned up", flush=True)
"""


def test_a_background_job_ends_at_sigterm_with_what_it_started():
    with subprocess.Popen(
        [sys.executable, "-c", GEOFM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    ) as process:
        assert process.stdout is not None
        try:
            server = int(process.stdout.readline())
            assert process.stdout.readline() == "served\n", f"process {server} does not end"
            process.terminate()
            assert process.stdout.readline() == "cleaned up\n"
            assert process.wait(timeout=20) == 0
        finally:
            process.kill()
