"""Keeps the mesh honest: sweeps what is stuck and proves that the stores agree."""
