"""Datasets in the layouts of other learning libraries, and back; each file is about one layout."""
