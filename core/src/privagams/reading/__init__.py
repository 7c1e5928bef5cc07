"""From image files to records: reading in child processes, tissue, choice of tiles, sharded storage."""
