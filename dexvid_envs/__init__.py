"""Gymnasium environments for a dexterous hand on a 7-DoF arm, and the `dexvid` command; importing registers them."""

from dexvid_envs.registration import register_environments

register_environments()
