# mujoco's classes live in compiled modules without type stubs; to the type checker they are Any.
from typing import Any

def __getattr__(name: str) -> Any: ...
