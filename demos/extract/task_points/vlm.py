"""The `vlm` backend: a vision-language model says which points matter, in a few pictures of the video.

The pictures are sent as JPEG to the OpenAI-compatible endpoint that the user names (`--vlm-url`), which may be on another
machine; without that option nothing is ever sent. A valid answer is kept in the work folder, so that a resumed extraction does
not ask again. Hand and object middle are added from `motion`, because the stages that follow count on them.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from demos.extract.task_points.chat_endpoint import ChatEndpoint, EndpointError
from demos.extract.task_points.motion import basic_queries, longest_contact
from demos.extract.task_points.task_points import HAND, HAND_POINTS, TaskPointQuery, TrackedObject
from demos.interaction import BoolArray, FloatArray
from demos.video import FrameCache
from dexvid_envs.files import atomic_path

_MAX_POINTS = 24
_JPEG_QUALITY = 85
_MAX_NAME = 40

_PROMPT = """These are {count} pictures of one video from a camera that stands still: a person's hand handles {object}.{task}
Each picture is announced by its frame number. All are {width} px wide and {height} px high; x counts from the left edge to the
right, y from the upper edge downwards, in px of the picture.

Name the points that matter for the task, as a robot that repeats it would need them: on the hand, on the object that is moved,
and on everything that the task is about, such as the target it is put on, the rim of the container it goes into, or the handle
that is pulled. Choose points that can be seen clearly, at corners, rims, ends and grips; 6 to 16 in all, each in the one
picture that shows it best.

Answer with JSON alone, in this form:
{{"points": [{{"name": "mug_rim_left", "part": "mug", "frame": {example}, "x": 123, "y": 45}}]}}
"name" is unique, in lower case with underscores. "part" is "hand"{parts} or a name for the other thing."""

_COMPLAINT = "That cannot be used: {reason}. Answer again, with the JSON alone, in the form that was asked for."


@dataclasses.dataclass(frozen=True)
class VisionModelProposer:
    """Asks a vision-language model for the points.

    Attributes:
        endpoint: whom to ask.
        cache_folder: where answers are kept; None keeps none.
        pictures: how many are sent.
        answers: how often the model may try to give a usable answer.
    """

    endpoint: ChatEndpoint
    cache_folder: Path | None = None
    pictures: int = 6
    answers: int = 2

    def propose(
        self,
        pictures: FrameCache,
        hand_px: FloatArray,
        objects: Sequence[TrackedObject],
        contact: BoolArray,
        fps: float,
        task: str | None,
    ) -> list[TaskPointQuery]:
        """The points, as `Proposer` says.

        Raises:
            EndpointError: no answer, or none that holds a usable point.
        """
        frames = telling_frames(contact, len(pictures), self.pictures)
        shown = [pictures.rgb(frame) for frame in frames]
        size = (shown[0].shape[1], shown[0].shape[0])
        names = [carried.name for carried in objects]
        message = {"role": "user", "content": _content(shown, frames, names, task)}
        kept = self._cache_file(message)
        answer = _read_answer(kept)
        found = None
        if answer is not None:
            try:
                found = parse_points(answer, frames, size)
            except EndpointError:  # damaged: ask again
                found = None
        if found is None:
            answer, found = self._ask(message, frames, size)
            if kept is not None:
                with atomic_path(kept) as temporary:
                    temporary.write_text(json.dumps({"model": self.endpoint.model, "answer": answer}, indent=1), "utf-8")
        basic = basic_queries(hand_px, objects, contact)
        taken = {query.name for query in basic}
        known = {_slug(name): name for name in reversed(names)} | ({"object": names[0]} if names else {})
        return basic + [
            dataclasses.replace(query, part=known.get(query.part, query.part)) for query in found if query.name not in taken
        ]

    def _ask(self, message: dict[str, Any], frames: Sequence[int], size: tuple[int, int]) -> tuple[str, list[TaskPointQuery]]:
        """The first usable answer and its points; after a useless one the model hears why."""
        conversation = [message]
        for attempt in range(1, self.answers + 1):
            answer = self.endpoint.ask(conversation)
            try:
                return answer, parse_points(answer, frames, size)
            except EndpointError as error:
                if attempt == self.answers:
                    raise
                complaint = {"role": "user", "content": _COMPLAINT.format(reason=error)}
                conversation += [{"role": "assistant", "content": answer}, complaint]
        raise EndpointError(f"the model may give {self.answers} answers, expected at least 1")

    def _cache_file(self, message: dict[str, Any]) -> Path | None:
        if self.cache_folder is None:
            return None
        asked = json.dumps([self.endpoint.url, self.endpoint.model, message], sort_keys=True)
        return self.cache_folder / f"vlm-answer-{hashlib.sha256(asked.encode()).hexdigest()[:16]}.json"


def telling_frames(contact: BoolArray, frames: int, count: int) -> list[int]:
    """Up to `count` frames that tell the story of contact (T,): start, grasp, middle, release, end, then in the widest gaps."""
    start, end = longest_contact(contact)
    chosen = sorted({0, start, (start + end) // 2, end - 1, frames - 1} & set(range(frames)))
    if len(chosen) > count:
        chosen = [chosen[i] for i in np.unique(np.linspace(0, len(chosen) - 1, max(count, 1)).astype(int))]
    while len(chosen) < min(count, frames):
        gaps = np.diff(chosen)
        widest = int(np.argmax(gaps)) if len(gaps) else 0
        if not len(gaps) or gaps[widest] < 2:
            break
        chosen.insert(widest + 1, (chosen[widest] + chosen[widest + 1]) // 2)
    return chosen


def _content(
    shown: Sequence[NDArray[np.uint8]], frames: Sequence[int], names: Sequence[str], task: str | None
) -> list[dict[str, Any]]:
    """The parts of the message: what is asked, then each picture with its number."""
    height, width = shown[0].shape[:2]
    listed = "".join(f', "{name}"' for name in names)
    text = _PROMPT.format(
        count=len(frames),
        object=f"the {names[0]}" if names else "an object",
        task=f" The task: {task.strip()}." if task and task.strip() else "",
        width=width,
        height=height,
        example=frames[0],
        parts=listed,
    )
    content: list[dict[str, Any]] = [{"type": "text", "text": text}]
    for frame, rgb in zip(frames, shown, strict=True):
        content.append({"type": "text", "text": f"Frame {frame}:"})
        content.append({"type": "image_url", "image_url": {"url": _data_uri(rgb)}})
    return content


def _data_uri(rgb: NDArray[np.uint8]) -> str:
    import cv2

    ok, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    if not ok:
        raise RuntimeError(f"OpenCV could not encode a picture of shape {rgb.shape}")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")


def _read_answer(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        answer = json.loads(path.read_text("utf-8"))["answer"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return answer if isinstance(answer, str) else None


def parse_points(answer: str, frames: Sequence[int], size: tuple[int, int]) -> list[TaskPointQuery]:
    """The usable points of an answer: prose and fences around the JSON are passed over, points that do not fit are left out.

    Args:
        answer: the model's text.
        frames: that were sent.
        size: (width, height) px of the pictures.

    Raises:
        EndpointError: there is no JSON in it, or no point that fits; says why.
    """
    listed = _listed_points(answer)
    if listed is None:
        raise EndpointError(
            f"the model answered {' '.join(answer.split())[:200]!r}, expected JSON with a list of points; try another model"
        )
    queries: dict[str, TaskPointQuery] = {}
    reasons = []
    for entry in listed[: 4 * _MAX_POINTS]:
        query = _query(entry, frames, size)
        if isinstance(query, str):
            reasons.append(query)
        elif len(queries) < _MAX_POINTS:
            queries.setdefault(query.name, query)
    if not queries:
        why = reasons[0] if reasons else "the list is empty"
        raise EndpointError(f"the model named {len(listed)} points, none of which can be used ({why}); try another model")
    return list(queries.values())


def _listed_points(answer: str) -> list[Any] | None:
    """The first JSON list of things in the text, alone or under "points"."""
    decoder = json.JSONDecoder()
    starts = [match.start() for match in re.finditer(r"[\[{]", answer)][:200]
    for start in starts:
        try:
            value, _ = decoder.raw_decode(answer, start)
        except (ValueError, RecursionError):
            continue
        listed = value.get("points") if isinstance(value, dict) else value
        if isinstance(listed, list) and (not listed or isinstance(listed[0], dict)):
            return listed
    return None


def _query(entry: Any, frames: Sequence[int], size: tuple[int, int]) -> TaskPointQuery | str:
    """The point of one entry, or why it cannot be used."""
    if not isinstance(entry, dict):
        return f"expected an object for each point, got {str(entry)[:60]!r}"
    name, part = _slug(entry.get("name")), _slug(entry.get("part"))
    if not name:
        return f"a point has the name {str(entry.get('name'))[:60]!r}, expected lower case letters, digits and underscores"
    frame, x, y = (_number(entry.get(key)) for key in ("frame", "x", "y"))
    if frame is None or x is None or y is None:
        return f"{name} lacks a number for frame, x or y"
    if frame not in frames:
        return f"{name} is in frame {frame:g}, expected one of {', '.join(map(str, frames))}"
    if not (0.0 <= x <= size[0] - 1 and 0.0 <= y <= size[1] - 1):
        return f"{name} is at ({x:g}, {y:g}), outside the {size[0]}x{size[1]} picture"
    on_hand = name in HAND_POINTS or part in (HAND, "fingers", "thumb", "person")
    return TaskPointQuery(name, HAND if on_hand else part or name, int(frame), np.array([x, y]))


def _slug(value: Any) -> str:
    """A name in lower case with underscores; empty for what is none."""
    if not isinstance(value, str):
        return ""
    return re.sub(r"[^a-z0-9]+", "_", value.lower()).strip("_")[:_MAX_NAME].strip("_")


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
