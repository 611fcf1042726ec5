"""Video in, pseudo-demonstration out: extraction, importers, retargeting, refinement, multiplication, datasets."""
