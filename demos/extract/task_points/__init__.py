"""Task-relevant points: proposed in single pictures (`motion`, `vlm`), followed through the video, lifted to 3D."""
