"""The stages of the data engine: what one task of each does."""
