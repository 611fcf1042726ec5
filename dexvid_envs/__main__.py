"""`python -m dexvid_envs` is the `dexvid` command."""

import sys

from dexvid_envs.cli import main

if __name__ == "__main__":
    sys.exit(main())
