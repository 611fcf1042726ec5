"""The parts of the refinement in physics: what each task asks, motions to begin with, and what physics made of them."""
