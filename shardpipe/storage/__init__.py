"""Objects, tars, rows, Datasets and the commit protocol, on any fsspec URL."""
