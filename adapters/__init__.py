"""One folder per payment service provider, all of one shape; each runs as a process of its own."""
