"""The code location: everything Dagster serves, assembled in one place."""

import dagster as dg

defs = dg.Definitions()
