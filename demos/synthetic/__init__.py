"""Synthetic human recordings with exact truth: made and filmed by the project itself."""
