"""Interactions as an extraction without any error would make them from a synthetic clip."""

from __future__ import annotations

from demos.synthetic.exact import true_interaction

__all__ = ["true_interaction"]
