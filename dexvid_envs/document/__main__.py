"""Writes the pages of the environments.

    python -m dexvid_envs.document --out docs/environments [--pictures]

A test compares the pages in the repository with what this makes: change the code, then make the pages again.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

import tyro

from dexvid_envs.document.pages import pages


@dataclasses.dataclass(frozen=True)
class DocumentArguments:
    """Where the pages go."""

    out: Path = Path("docs/environments")
    """folder of the pages"""
    pictures: bool = False
    """make the pictures too, which needs an off-screen OpenGL library"""


def main() -> None:
    """Writes all pages and, if asked to, the pictures."""
    arguments = tyro.cli(DocumentArguments)
    arguments.out.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (arguments.out / name).write_text(text, encoding="utf-8")
        print(f"wrote {arguments.out / name}")
    if arguments.pictures:
        from dexvid_envs.document.pictures import write_pictures

        for path in write_pictures(arguments.out):
            print(f"wrote {path} ({path.stat().st_size / 1000:.0f} kB)")


if __name__ == "__main__":
    main()
