"""Readers and writers of other people's data."""
