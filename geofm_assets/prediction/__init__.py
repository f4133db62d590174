"""From a checkpoint and a request to a map: partition, imagery, crops, tiles."""
