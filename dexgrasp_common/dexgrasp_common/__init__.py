"""What every package shares: registries, rigid transforms, and the glue between nodes and library code."""
