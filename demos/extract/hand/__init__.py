"""The hand: found in the pictures, followed, fitted with a model of the hand, in metres."""
