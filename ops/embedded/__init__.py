"""The embedded stack: real servers out of wheels, started and stopped as children of this process."""
