"""Pages of documentation for the registered environments, made from the code itself: `python -m dexvid_envs.document`."""
