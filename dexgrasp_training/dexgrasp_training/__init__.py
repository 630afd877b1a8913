"""The data engine: from meshes to a training set, offline, resumable and seeded."""
