"""A small SIMULATED Earth with reference collections and monthly scenes, for the demo and tests.

Nothing in it was measured. Its shapes are those of the real thing (an RDM mirror, a folder of
scenes with items.json), so that the code which reads it is the code that reads real data.
"""
