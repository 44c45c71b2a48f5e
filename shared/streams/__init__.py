"""Redis Streams: every key and script of the mesh, and the one consumer loop that all workers share."""
