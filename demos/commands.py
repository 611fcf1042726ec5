"""The `dexvid` subcommands of this package; static, so that the overview loads none of the work."""

from dexvid_envs.cli import Command

EXTRACT = Command(
    "extract",
    "a video (or many, or another extractor's output) to metric hand and object motion",
    "demos.extract.command:main",
    (
        "dexvid extract my_video.mp4 --out extraction",
        "dexvid extract my_video.mp4 --out extraction --object-point 320 180",
        "dexvid extract recording_folder --out extraction --importer dexmv",
        "dexvid extract VIDEOS/ --out extractions --workers 8",
        "dexvid extract VIDEOS/ --out extractions --engine ray",
    ),
)
RETARGET = Command(
    "retarget",
    "an extraction to a motion of the robot",
    "demos.retarget_command:main",
    ("dexvid retarget extraction --out motion.npz",),
)
REFINE = Command(
    "refine",
    "search in physics until the robot moves the object as the video did",
    "demos.refine_command:main",
    (
        "dexvid refine extraction --env DexVid-BottlePickPlace-v0 --out refined",
        "dexvid refine extractions/ --out refined --engine ray",
        "dexvid refine pouring --until-highest --out refined_lift",
    ),
)
MULTIPLY = Command(
    "multiply",
    "one demonstration to many, at new starts and targets",
    "demos.multiply_command:main",
    (
        "dexvid multiply refined --count 1200 --out demonstrations",
        "dexvid multiply refined/ --count 100 --out demonstrations --workers 8",
    ),
)
REPLAY = Command(
    "replay",
    "play demonstrations in the simulator and report their outcome",
    "demos.replay_command:main",
    (
        "dexvid replay demonstrations --episode 0 --video replay.mp4 --plot forces.png",
        "dexvid replay refined --closed-loop --json outcome.json",
        "dexvid replay refined --record refined_here",
    ),
)
DATASET = Command(
    "dataset",
    "look at, check, filter, merge and export datasets of demonstrations",
    "demos.dataset_command:main",
    (
        "dexvid dataset info demonstrations",
        "dexvid dataset check demonstrations --replay --json findings.json",
        "dexvid dataset filter demonstrations --tier successful --first 100 --out chosen",
        "dexvid dataset merge chosen others --out all",
        "dexvid dataset export demonstrations --to lerobot --out demonstrations_lerobot",
        "dexvid dataset export demonstrations --to robomimic --out demonstrations.hdf5",
    ),
)
SYNTHESIZE = Command(
    "synthesize",
    "synthetic human videos with exact truth: hand, objects, depth, masks, camera",
    "demos.synthetic.command:main",
    (
        "dexvid synthesize --corpus evaluation --out synthetic_evaluation",
        "dexvid synthesize --corpus training --count 100 --seed 1 --out synthetic_training",
        "dexvid synthesize --corpus wild --count 240 --width 400 --height 300 --fps 12 --out synthetic_wild",
    ),
)
KINEMATIC = Command(
    "kinematic",
    "a folder of videos to kinematic pseudo-demonstrations, for pretraining",
    "demos.kinematic_command:main",
    (
        "dexvid kinematic VIDEOS/ --out pretraining --motions motions.npz --json used.json",
        "dexvid kinematic motions.npz --out pretraining",
        "dexvid kinematic motions.npz MORE_VIDEOS/ --motions all_motions.npz",
    ),
)
