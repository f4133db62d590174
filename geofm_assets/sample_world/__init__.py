"""A small SIMULATED Earth for the demo and the tests: fields, seasons, clouds, speckle, labels."""
