"""Models that can be evaluated, behind one small interface."""
