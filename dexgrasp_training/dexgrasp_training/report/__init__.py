"""What a dataset holds, as tables, charts and pictures."""
