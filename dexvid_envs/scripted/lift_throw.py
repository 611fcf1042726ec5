"""The scripted policy of LiftThrow: grasp, lift, swing and let go so that the object flies into the bucket."""
