"""Which points are used: candidates, the sample per H3 cell, and its split."""
