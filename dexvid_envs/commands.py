"""The `dexvid` subcommands of this package; static, so that the overview loads none of the work."""

from dexvid_envs.cli import Command

LIST = Command("list", "the registered environments", "dexvid_envs.doctor:list_main", ("dexvid list",))
DOCTOR = Command(
    "doctor", "what this machine can do and how to get the rest", "dexvid_envs.doctor:doctor_main", ("dexvid doctor",)
)
PLAY = Command(
    "play",
    "watch a policy in an environment, in a window or as a video",
    "dexvid_envs.play_command:main",
    ("dexvid play GraspLift --policy scripted --video lift.mp4", "dexvid play BottlePickPlace --policy RUN/checkpoint"),
)
COMPLETION = Command(
    "completion",
    "a script with which the shell completes commands and options on the Tab key",
    "dexvid_envs.completion:main",
    ('eval "$(dexvid completion bash)"', "dexvid completion zsh > ~/.dexvid_completion"),
)
