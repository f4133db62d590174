"""Burned area from fire perimeters (FRAP and files of its kind)."""
