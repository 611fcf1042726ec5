"""The `dexvid` subcommands of this package; static, so that the overview loads none of the work."""

from dexvid_envs.cli import Command

TRAIN = Command(
    "train",
    "behaviour cloning (bc), PPO fine-tuning (ppo), or learning from another policy (distill)",
    "baselines.train_command:main",
    (
        "dexvid train bc --dataset demonstrations --out runs/clone",
        "dexvid train bc --dataset data --policy transformer --env-option observation_mode=pointcloud --out runs/points",
        "dexvid train ppo --env DexVid-BottlePickPlace-v0 --init runs/clone --out runs/finetuned",
        "dexvid train distill --teacher runs/finetuned --env-option observation_mode=pointcloud --out runs/points",
    ),
)
CORRECT = Command(
    "correct",
    "what demonstrations do from where a cloned policy has got to, to clone it again from",
    "baselines.correct_command:main",
    (
        "dexvid correct demonstrations --policy runs/clone --count 600 --out corrections",
        "dexvid dataset merge demonstrations corrections --out all",
    ),
)
EVALUATE = Command(
    "evaluate",
    "success rate of a policy over fixed seeds, with its Wilson interval",
    "baselines.evaluate_command:main",
    (
        "dexvid evaluate --env DexVid-BottlePickPlace-v0 --policy runs/clone --episodes 200",
        "dexvid evaluate --env DexVid-GraspLift-v0 --policy my_package.my_module:MyPolicy",
    ),
)
RECORD = Command(
    "record",
    "episodes of any policy as demonstrations, each played again to the same end",
    "baselines.record_command:main",
    (
        "dexvid record GraspLift --policy scripted --count 20 --out demonstrations",
        "dexvid record BottlePickPlace --policy runs/clone --count 100 --out rollouts",
    ),
)
QUICKSTART = Command(
    "quickstart",
    "from one human demonstration to an evaluated policy, in one go",
    "baselines.quickstart:main",
    ("dexvid quickstart", "dexvid quickstart --source path/to/dexmv_recording", "dexvid quickstart --quick"),
)
VIEW = Command(
    "view",
    "an extraction, a motion, a demonstration or a policy in the browser, beside its film",
    "baselines.view_command:main",
    (
        "dexvid view extraction",
        "dexvid view motion.npz --source extraction",
        "dexvid view demonstrations --episode 3",
        "dexvid view runs/quickstart",
        "dexvid view runs/clone",
    ),
)
REPORT = Command(
    "report",
    "a page about a training run, a policy's evaluation, a dataset or an extraction",
    "baselines.reports.command:main",
    (
        "dexvid report runs/clone",
        "dexvid report demonstrations --out demonstrations.html",
        "dexvid report result.json --json",
    ),
)
