"""What the server of `support.openai_server` says to a request."""

import base64
import json
import re
from http.server import BaseHTTPRequestHandler
from typing import Any, cast

import cv2
import numpy as np
from support.numbered import UNREADABLE, read_number
from support.openai_server import Server

STATUS = {"429": 429, "429 later": 429, "500": 500, "503": 503, "400": 400, "401": 401, "404": 404}
COLOUR_STEP = 32


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    @property
    def here(self) -> Server:
        return cast("Server", self.server)

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        plan = self.here.plan
        if self.path == "/health":
            self._json({})
        elif self.path != "/v1/models" or plan.models_fault:
            self._fail(plan.models_fault or "404")
        elif self._may():
            self._json({"object": "list", "data": [{"id": model, "object": "model"} for model in plan.models]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            self._fail("404")
            return
        if not self._may():
            return
        here = self.here
        number, user = here.next_number(), str(body.get("user", ""))
        fault = here.plan.fault(number, user)
        prompt, seen = read_messages(body["messages"])
        text = "" if fault in ("empty", "refusal") else answer(body, prompt, seen)
        entry = {"number": number, "user": user, "prompt": prompt, "seen": seen, "fault": fault, "text": text}
        with here.lock:
            here.at_once += 1
            here.most_at_once = max(here.most_at_once, here.at_once)
        try:
            here.note({**entry, "body": {name: value for name, value in body.items() if name != "messages"}})
            here.stopping.wait(here.plan.hang_s if fault == "hang" else here.plan.delay_s)
            if body.get("media_io_kwargs") is not None and not here.plan.trusts_media:
                self._fail("400", "Per-request media_io_kwargs are disabled by default because they can change much.")
            else:
                if not fault:
                    here.note_answer(user)
                self._answer(body, prompt, text, fault)
        finally:
            with here.lock:
                here.at_once -= 1

    def _may(self) -> bool:
        """Whether the key is the right one; answers as OpenAI does where it is not: with the key in the message."""
        given = self.headers.get("Authorization", "")
        if self.here.plan.key is None or given == f"Bearer {self.here.plan.key}":
            return True
        self._json({"error": {"message": f"Incorrect API key provided: {given}", "code": "invalid_api_key"}}, 401)
        return False

    def _answer(self, body: dict[str, Any], prompt: str, text: str, fault: str) -> None:
        if fault in ("hang", "closed"):
            self.close_connection = True
        elif fault in STATUS:
            sent = self.headers.get("Authorization", "") if self.here.plan.echoes_key else ""
            self._fail(fault, f"fault {fault} {sent} of {prompt} {json.dumps(body['messages'])}")
        elif fault == "html":
            self._send(b"<html>a proxy's page</html>", "text/html")
        elif fault == "broken json":
            self._send(b'{"id": "1", "choices": [{"index": 0, "mess', "application/json")
        elif fault == "no choices":
            self._json({"id": "1", "choices": []})
        else:
            made = json.dumps(completion(body, prompt, text, fault, has_usage=self.here.plan.has_usage)).encode()
            self._send(made, "application/json", is_half=fault == "half")

    def _fail(self, fault: str, message: str = "no such page") -> None:
        later = {"Retry-After": self.here.plan.retry_after} if fault == "429 later" else {}
        self._json({"error": {"message": message, "code": fault}}, STATUS[fault], later)

    def _json(self, value: Any, status: int = 200, headers: dict[str, str] | None = None) -> None:
        self._send(json.dumps(value).encode(), "application/json", status, headers)

    def _send(
        self, data: bytes, kind: str, status: int = 200, headers: dict[str, str] | None = None, *, is_half: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if is_half else data)
        self.close_connection = self.close_connection or is_half


def completion(body: dict[str, Any], prompt: str, text: str, fault: str, *, has_usage: bool) -> dict[str, Any]:
    """A chat completion that says `text`."""
    finish = {"length": "length", "filter": "content_filter"}.get(fault, "stop")
    text = text[: len(text) // 2] if fault in ("length", "filter") else text
    message = {
        "role": "assistant",
        "content": text,
        "refusal": "I cannot help with that." if fault == "refusal" else None,
    }
    usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(text.split())}
    return {
        "id": "1",
        "object": "chat.completion",
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        **({"usage": {**usage, "total_tokens": sum(usage.values())}} if has_usage else {}),
    }


def read_messages(messages: list[dict[str, Any]]) -> tuple[str, list[str]]:
    """The text of the user's message, and what each picture of it shows: `#12`, or a colour as `r-g-b`."""
    content = messages[-1]["content"]
    if isinstance(content, str):
        return content, []
    prompt = " ".join(part["text"] for part in content if part["type"] == "text")
    urls = [part[part["type"]]["url"] for part in content if part["type"] in ("image_url", "video_url")]
    jpegs = [jpeg for url in urls for jpeg in re.sub(r"^data:[^,]*,", "", url).split(",")]
    return prompt, [shown(cv2.imdecode(np.frombuffer(base64.b64decode(jpeg), np.uint8), 1)) for jpeg in jpegs]


def shown(bgr: Any) -> str:
    number = read_number(cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))
    if number != UNREADABLE:
        return f"#{number}"
    blue, green, red = (round(float(mean) / COLOUR_STEP) * COLOUR_STEP for mean in bgr.mean(axis=(0, 1)))
    return f"{red}-{green}-{blue}"


def answer(body: dict[str, Any], prompt: str, seen: list[str]) -> str:
    """What it says: a guided answer where one is asked for, else a sentence; both are made of what it sees."""
    guide = body.get("structured_outputs") or {}
    wanted = body.get("response_format") or {}
    schema = guide.get("json") or wanted.get("json_schema", {}).get("schema")
    picked = int(seen[0].removeprefix("#")) if seen and seen[0].startswith("#") else len(prompt)
    if "choice" in guide:
        return str(guide["choice"][picked % len(guide["choice"])])
    what = " ".join(seen) or prompt
    return json.dumps(filled(schema, what, picked)) if schema else f"It shows {what}."


def filled(schema: dict[str, Any], what: str, number: int) -> Any:
    """A value that fits a JSON schema, made of what was seen."""
    if "enum" in schema:
        return schema["enum"][number % len(schema["enum"])]
    if "anyOf" in schema:
        return filled(schema["anyOf"][0], what, number)
    kind = schema.get("type")
    if kind == "object":
        return {name: filled(part, f"{name} {what}", number) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [filled(schema.get("items", {"type": "string"}), what, number)]
    return {"integer": number, "number": float(number), "boolean": number % 2 == 1}.get(str(kind), what)
