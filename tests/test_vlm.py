"""The vision-language backend against a real HTTP server on loopback that speaks the chat-completions protocol, also badly."""

from __future__ import annotations

import base64
import contextlib
import dataclasses
import json
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from demos.extract.objects.object_masks import SEEN, ObjectMasks
from demos.extract.task_points.chat_endpoint import ChatEndpoint, EndpointError
from demos.extract.task_points.task_points import HAND, HAND_POINTS, OBJECT_CENTROID, TrackedObject
from demos.extract.task_points.vlm import VisionModelProposer, parse_points, telling_frames
from demos.parts import PixelTracks
from demos.video import FrameCache
from dexvid_envs.errors import OptionError

FRAMES, WIDTH, HEIGHT = 20, 64, 48
GOOD = {
    "points": [
        {"name": "mug_rim_left", "part": "mug", "frame": 0, "x": 12, "y": 30.5},
        {"name": "Spout tip", "part": "The Pitcher", "frame": 19, "x": 40, "y": 20},
        {"name": "index_tip", "part": "hand", "frame": 0, "x": 5, "y": 5},
        {"name": "knuckle", "part": "hand", "frame": 0, "x": 6, "y": 5},
    ]
}


@dataclasses.dataclass
class Server:
    """Answers with what is queued, the last thing over and over: (status, headers, body), or a function of the connection."""

    url: str = ""
    replies: list[Any] = dataclasses.field(default_factory=list)
    requests: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def answers(self, *texts: str) -> None:
        self.replies = [(200, {}, completion(text)) for text in texts]

    def endpoint(self, **changed: Any) -> ChatEndpoint:
        return ChatEndpoint(**({"url": self.url, "model": "seer-7b", "timeout_s": 5.0, "first_wait_s": 0.01} | changed))


def completion(text: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}).encode()


@pytest.fixture
def server() -> Iterator[Server]:
    state = Server()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.requests.append({"path": self.path, "headers": dict(self.headers), "body": body})
            reply = state.replies.pop(0) if len(state.replies) > 1 else state.replies[0]
            if callable(reply):
                reply(self)
                return
            status, headers, data = reply
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    yield state
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.fixture
def clip() -> Iterator[tuple[Any, ...]]:
    """Pictures, hand, objects, contact, fps and task of a clip of noise."""
    pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    pictures = FrameCache()
    for _ in range(FRAMES):
        pictures.append(rng.integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8))
    hand = rng.uniform(5, 40, (21, 2)) + np.zeros((FRAMES, 1, 1))
    masks = ObjectMasks((HEIGHT, WIDTH), FRAMES)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[10:20, 30:44] = True
    for frame in range(FRAMES):
        masks.put(frame, mask, SEEN)
    nothing = PixelTracks(np.zeros((FRAMES, 0, 2)), np.zeros((FRAMES, 0), bool), np.zeros((FRAMES, 0)))
    contact = np.zeros(FRAMES, bool)
    contact[6:15] = True
    yield pictures, hand, (TrackedObject("The Pitcher", masks, nothing),), contact, 15.0, "pour into the mug"
    pictures.close()


# the way there and back


def test_pictures_and_task_arrive_and_points_come_back(server: Server, clip: tuple[Any, ...]) -> None:
    server.answers(json.dumps(GOOD))
    queries = {query.name: query for query in VisionModelProposer(server.endpoint()).propose(*clip)}
    (request,) = server.requests
    assert request["path"] == "/v1/chat/completions"
    assert "Authorization" not in request["headers"]
    assert request["body"]["model"] == "seer-7b"
    content = request["body"]["messages"][0]["content"]
    asked = content[0]["text"]
    assert "pour into the mug" in asked
    assert "64 px wide and 48 px high" in asked
    uris = [part["image_url"]["url"] for part in content if part["type"] == "image_url"]
    announced = [part["text"] for part in content[1:] if part["type"] == "text"]
    assert len(uris) == len(announced) == 6
    assert announced[0] == "Frame 0:"
    import cv2

    data = base64.b64decode(uris[0].removeprefix("data:image/jpeg;base64,"), validate=True)
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape == (HEIGHT, WIDTH, 3)
    assert {*HAND_POINTS, OBJECT_CENTROID, "mug_rim_left", "spout_tip", "knuckle"} == set(queries)
    np.testing.assert_allclose(queries["mug_rim_left"].pixel, (12, 30.5))
    assert queries["spout_tip"].part == "The Pitcher"  # as the object is called, however the model writes it
    assert queries["knuckle"].part == HAND
    np.testing.assert_allclose(queries["index_tip"].pixel, clip[1][0, 8])  # the hand track knows better


def test_key_comes_from_the_environment_and_is_never_told(
    server: Server, clip: tuple[Any, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("SEER_KEY", "sk-very-secret")
    server.answers(json.dumps(GOOD))
    proposer = VisionModelProposer(server.endpoint(key_variable="SEER_KEY"), tmp_path)
    proposer.propose(*clip)
    assert server.requests[0]["headers"]["Authorization"] == "Bearer sk-very-secret"
    assert "sk-very-secret" not in "".join(path.read_text() for path in tmp_path.iterdir())
    server.replies = [(401, {}, b'{"error": {"message": "bad key sk-very-secret"}}')]
    with pytest.raises(EndpointError, match=r"401 \(bad key \*\*\*\).*check the key in SEER_KEY"):
        server.endpoint(key_variable="SEER_KEY").ask([])
    monkeypatch.delenv("SEER_KEY")
    with pytest.raises(OptionError, match="export SEER_KEY="):
        server.endpoint(key_variable="SEER_KEY").ask([])


def test_an_answer_is_asked_for_once(server: Server, clip: tuple[Any, ...], tmp_path: Path) -> None:
    server.answers(json.dumps(GOOD))
    proposer = VisionModelProposer(server.endpoint(), tmp_path / "work")
    first = proposer.propose(*clip)
    again = proposer.propose(*clip)
    assert len(server.requests) == 1
    assert [query.name for query in first] == [query.name for query in again]
    pictures, hand, objects, contact, fps, _ = clip
    proposer.propose(pictures, hand, objects, contact, fps, "another task")
    assert len(server.requests) == 2
    for kept in (tmp_path / "work").iterdir():
        kept.write_text('{"answer": "cut o')
    assert [query.name for query in proposer.propose(*clip)] == [query.name for query in first]
    assert len(server.requests) == 3


# servers in trouble


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_passing_trouble_is_waited_out(server: Server, status: int) -> None:
    server.replies = [(status, {}, b"busy"), (status, {"Retry-After": "7"}, b"busy"), (200, {}, completion("hello"))]
    waits: list[float] = []
    assert server.endpoint(first_wait_s=0.5).ask([], waits.append) == "hello"
    assert waits == [0.5, 7.0]


def test_lasting_trouble_is_one_clear_error(server: Server) -> None:
    server.replies = [(500, {}, b'{"error": "out of memory"}')]
    with pytest.raises(EndpointError, match=r"answered 500 \(out of memory\) \(asked 3 times\)"):
        server.endpoint(attempts=3).ask([])
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "refuses the key; name the variable"),
        (404, "ends with the version"),
        (400, "reads pictures"),
        (413, "reads pictures"),
    ],
)
def test_a_refusal_is_not_repeated(server: Server, status: int, said: str) -> None:
    server.replies = [(status, {}, b"no")]
    with pytest.raises(EndpointError, match=said):
        server.endpoint().ask([])
    assert len(server.requests) == 1


def test_silence_ends_in_a_timeout(server: Server) -> None:
    server.replies = [lambda handler: time.sleep(0.5)]
    with pytest.raises(EndpointError, match=r"did not answer within 0\.1 s \(asked 2 times\)"):
        server.endpoint(timeout_s=0.1, attempts=2).ask([])


def test_a_broken_connection_is_tried_again(server: Server) -> None:
    def hang_up(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"choi')

    server.replies = [hang_up, (200, {}, completion("hello"))]
    assert server.endpoint().ask([]) == "hello"


def test_nobody_there() -> None:
    with pytest.raises(EndpointError, match="cannot be reached"):
        ChatEndpoint("http://127.0.0.1:9/v1", "seer", attempts=1).ask([])


def test_pictures_and_key_do_not_follow_a_redirection(server: Server) -> None:
    server.replies = [(307, {"Location": server.url + "/elsewhere/chat/completions"}, b""), (200, {}, completion("hello"))]
    with pytest.raises(EndpointError, match="redirections are not followed"):
        server.endpoint().ask([])
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "data",
    [
        b"<html>welcome</html>",
        b"",
        b"[]",
        b"{}",
        b'{"choices": []}',
        b'{"choices": [{"message": null}]}',
        b"\xff\xfe",
        b"[" * 9999,
    ],
)
def test_what_is_no_completion_is_said_so(server: Server, data: bytes) -> None:
    server.replies = [(200, {}, data)]
    with pytest.raises(EndpointError, match="expected a chat completion"):
        server.endpoint().ask([])


def test_an_empty_answer_gives_its_reason(server: Server) -> None:
    server.replies = [(200, {}, b'{"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}')]
    with pytest.raises(EndpointError, match=r"answered nothing \(length\)"):
        server.endpoint().ask([])


def test_content_in_parts_is_joined(server: Server) -> None:
    server.answers([{"type": "text", "text": "hel"}, {"type": "text", "text": "lo"}])  # pyright: ignore[reportArgumentType]
    assert server.endpoint().ask([]) == "hello"


@pytest.mark.parametrize(
    "url", ["", "localhost:8000", "file:///etc/passwd", "ftp://host/v1", "http://", "http://a b/v1", "http://h:x/"]
)
def test_what_is_no_url_is_refused(url: str) -> None:
    with pytest.raises(OptionError, match="expected something like http"):
        ChatEndpoint(url, "seer")


def test_an_empty_model_is_refused() -> None:
    with pytest.raises(OptionError, match="--vlm-model"):
        ChatEndpoint("http://127.0.0.1:8000/v1", " ")


# models in trouble


def test_a_useless_answer_is_sent_back_once(server: Server, clip: tuple[Any, ...]) -> None:
    server.answers("I see a nice kitchen.", json.dumps(GOOD))
    names = [query.name for query in VisionModelProposer(server.endpoint()).propose(*clip)]
    assert "mug_rim_left" in names
    conversation = server.requests[1]["body"]["messages"]
    assert [message["role"] for message in conversation] == ["user", "assistant", "user"]
    assert "nice kitchen" in conversation[2]["content"]


def test_two_useless_answers_are_an_error_and_not_kept(server: Server, clip: tuple[Any, ...], tmp_path: Path) -> None:
    server.answers('{"points": [{"name": "rim", "part": "mug", "frame": 0, "x": 900, "y": 3}]}')
    with pytest.raises(EndpointError, match=r"1 points, none of which can be used \(rim is at \(900, 3\), outside the 64x48"):
        VisionModelProposer(server.endpoint(), tmp_path).propose(*clip)
    assert len(server.requests) == 2
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "dressing",
    [
        "{}",
        "```json\n{}\n```",
        "```\n{}```",
        "Sure! Here are [some] {{points}}:\n{}\nLet me know.",
        "<think>the mug [left] ...</think> {}",
    ],
)
def test_prose_and_fences_around_the_json_do_not_matter(dressing: str) -> None:
    answer = dressing.replace("{{", "<").replace("}}", ">").replace("{}", json.dumps(GOOD, indent=1))
    assert len(parse_points(answer, [0, 19], (WIDTH, HEIGHT))) == 4


def test_a_bare_list_will_do() -> None:
    assert len(parse_points(json.dumps(GOOD["points"]), [0, 19], (WIDTH, HEIGHT))) == 4


def test_points_that_do_not_fit_are_left_out() -> None:
    good = {"name": "rim", "part": "mug", "frame": 0, "x": 63, "y": 47}
    bad: list[Any] = [
        good | {"name": "outside", "x": 63.5},
        good | {"name": "before", "y": -1},
        good | {"name": "other_frame", "frame": 7},
        good | {"name": "text", "x": "12"},
        good | {"name": "truth", "y": True},
        good | {"name": "huge", "x": 10**400},
        good | {"name": "???"},
        good | {"name": None},
        {key: value for key, value in good.items() if key != "y"},
        "rim",
        None,
    ]
    text = json.dumps({"points": [good, *bad, good]}).replace('"x": 63.5', '"x": NaN')
    (query,) = parse_points(text, [0, 19], (WIDTH, HEIGHT))
    assert query.name == "rim"


@given(st.text(max_size=200))
def test_no_text_breaks_the_parser(text: str) -> None:
    for answer in (text, '{"points": [' + text, '{"points": [{"name": "a", "frame": 0, "x": ' + text):
        with contextlib.suppress(EndpointError):
            parse_points(answer, [0], (WIDTH, HEIGHT))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["name", "part", "frame", "x", "y"]), inner),
    max_leaves=12,
)


@given(st.lists(_JSON, max_size=4))
def test_no_json_breaks_the_parser(points: list[Any]) -> None:
    try:
        queries = parse_points(json.dumps({"points": points}), [0], (WIDTH, HEIGHT))
    except EndpointError:
        return
    for query in queries:
        assert query.frame == 0
        assert (query.pixel >= 0).all()
        assert (query.pixel <= (WIDTH - 1, HEIGHT - 1)).all()


@given(st.integers(1, 60), st.integers(1, 8), st.data())
def test_frames_that_are_shown_exist_and_are_different(frames: int, count: int, data: st.DataObject) -> None:
    contact = np.array(data.draw(st.lists(st.booleans(), min_size=frames, max_size=frames)))
    chosen = telling_frames(contact, frames, count)
    assert chosen == sorted(set(chosen))
    assert 1 <= len(chosen) <= count
    assert len(chosen) == min(count, frames) or count < 2
    assert set(chosen) <= set(range(frames))


def make_slow(reply: bytes, pause_s: float) -> Callable[[BaseHTTPRequestHandler], None]:
    """Sends a reply in two pieces with a pause between them."""

    def send(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(reply)))
        handler.end_headers()
        handler.wfile.write(reply[:10])
        handler.wfile.flush()
        time.sleep(pause_s)
        handler.wfile.write(reply[10:])

    return send


def test_a_server_that_stalls_halfway_is_given_up_and_asked_again(server: Server) -> None:
    server.replies = [make_slow(completion("late"), 0.5), (200, {}, completion("hello"))]
    assert server.endpoint(timeout_s=0.1).ask([]) == "hello"
