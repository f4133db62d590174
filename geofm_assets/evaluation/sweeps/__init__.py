"""Sweeps over models, datasets and probe settings; the leaderboard."""
