"""Self-contained pages about runs, evaluations, datasets and quickstarts: what is in them, and how it looks."""
