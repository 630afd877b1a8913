"""Training the generator on a dataset's views."""
