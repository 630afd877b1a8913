"""DexGraspNet 2.0's release (Zhang et al., CoRL 2024), read and written."""
