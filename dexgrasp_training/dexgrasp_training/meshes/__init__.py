"""Meshes as solid objects: read, repaired, decomposed, sampled."""
