"""Objects: where they are in the pictures (masks and point tracks), when they are touched, and where they are in metres."""
