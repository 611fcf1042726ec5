"""Names of the points that are always followed; contact has a place of its own, and is still found here."""

from demos.extract.contact import find_contact, runs

__all__ = ["KEYPOINT_NAMES", "find_contact", "runs"]

KEYPOINT_NAMES = ("wrist", "thumb_tip", "index_tip", "middle_tip", "ring_tip", "little_tip", "object_centroid")
