"""The registry of evaluation datasets: what there is, and what each number of it means."""
