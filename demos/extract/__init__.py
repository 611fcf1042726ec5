"""From a video to hand and object motion in metres: `dexvid extract`."""
