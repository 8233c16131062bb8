"""A stand-in for the Hugging Face hub: the part of its interface that models are pushed and loaded by."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

TOKEN = "hf_of_the_tests"


@dataclass
class Repository:
    private: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """Commit -> path -> contents."""

    def commit(self, branch: str, files: dict[str, bytes]) -> str:
        before = self.commits.get(self.branches.get(branch, ""), {})
        oid = hashlib.sha1(f"{len(self.commits)}{branch}".encode()).hexdigest()
        self.commits[oid] = {**before, **files}
        self.branches[branch] = oid
        return oid

    def resolve(self, revision: str) -> str | None:
        return self.branches.get(revision, revision if revision in self.commits else None)


class Hub:
    """Repositories by name, and what was stored for large files."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[str] = []
        self._port = 0
        self._server: ThreadingHTTPServer | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Answer at the port of before, or at a free one."""
        handler = type("Handler", (_Handler,), {"hub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), handler)
        self._port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @contextmanager
    def unreachable(self) -> Iterator[None]:
        """No network: nobody listens at its port."""
        self.stop()
        try:
            yield
        finally:
            self.start()


@contextmanager
def running() -> Iterator[Hub]:
    hub = Hub()
    hub.start()
    try:
        yield hub
    finally:
        hub.stop()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        path, body = self._start()
        if not self._may_write():
            return
        if path == "/api/validate-yaml":
            self._json({"errors": [], "warnings": []})
        elif path == "/api/repos/create":
            self._create(json.loads(body))
        elif match := re.fullmatch(r"/(.+)\.git/info/lfs/objects/batch", path):
            self._json(
                {"transfer": "basic", "objects": [self._upload(o) for o in json.loads(body)["objects"]]}
            )
        elif match := re.fullmatch(r"/api/models/([^/]+/[^/]+)/(preupload|commit|branch)/(.+)", path):
            name, action, revision = match.groups()
            if name not in self.hub.repositories:
                self._error(404, "RepoNotFound")
            else:
                getattr(self, f"_{action}")(self.hub.repositories[name], unquote(revision), body)
        else:
            self._error(404, "EntryNotFound")

    def do_PUT(self) -> None:
        path, body = self._start()
        self.hub.large[path.rpartition("/")[2]] = body
        self._send(200, b"")

    def do_GET(self) -> None:
        path, _ = self._start()
        if match := re.fullmatch(r"/api/models/([^/]+/[^/]+)(?:/(revision|tree)/([^/]+))?", path):
            self._about(*match.groups())
        elif match := re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self._file(*match.groups())
        else:
            self._error(404, "EntryNotFound")

    do_HEAD = do_GET

    def _start(self) -> tuple[str, bytes]:
        self.hub.requests.append(f"{self.command} {self.path}")
        return urlsplit(self.path).path, self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _may_write(self) -> bool:
        if self.headers.get("Authorization") == f"Bearer {TOKEN}":
            return True
        self._error(401, "")
        return False

    def _create(self, wanted: dict[str, object]) -> None:
        name = f"{wanted['organization']}/{wanted['name']}"
        status = 409 if name in self.hub.repositories else 200
        private = wanted.get("visibility") == "private" or bool(wanted.get("private"))
        made = self.hub.repositories.setdefault(name, Repository(private))
        if status == 200:
            made.commit("main", {})
        self._json({"url": f"{self.hub.endpoint}/{name}", "name": name}, status)

    def _branch(self, repository: Repository, name: str, body: bytes) -> None:
        status = 409 if name in repository.branches else 200
        repository.branches.setdefault(name, repository.branches["main"])
        self._json({}, status)

    def _preupload(self, repository: Repository, revision: str, body: bytes) -> None:
        files = [file["path"] for file in json.loads(body)["files"]]
        modes = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in files}
        self._json(
            {"files": [{"path": p, "uploadMode": mode, "shouldIgnore": False} for p, mode in modes.items()]}
        )

    def _upload(self, wanted: dict[str, object]) -> dict[str, object]:
        href = f"{self.hub.endpoint}/large/{wanted['oid']}"
        return {**wanted, "authenticated": True, "actions": {"upload": {"href": href}}}

    def _commit(self, repository: Repository, revision: str, body: bytes) -> None:
        files = {}
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.hub.large[value["oid"]]
        oid = repository.commit(revision, files)
        self._json({"success": True, "commitOid": oid, "commitUrl": f"{self.hub.endpoint}/x/x/commit/{oid}"})

    def _found(self, name: str, revision: str) -> tuple[Repository, str] | None:
        repository = self.hub.repositories.get(name)
        hidden = repository is not None and repository.private and "Authorization" not in self.headers
        if repository is None or hidden:
            self._error(401, "RepoNotFound")
        elif (commit := repository.resolve(unquote(revision))) is None:
            self._error(404, "RevisionNotFound")
        else:
            return repository, commit
        return None

    def _about(self, name: str, what: str | None, revision: str | None) -> None:
        if (found := self._found(name, revision or "main")) is None:
            return
        repository, commit = found
        files = repository.commits[commit]
        if what == "tree":
            self._json([_entry(path, contents) for path, contents in files.items()])
            return
        siblings = [{"rfilename": path} for path in files]
        about = {"id": name, "modelId": name, "sha": commit, "private": repository.private}
        self._json({**about, "siblings": siblings, "tags": [], "downloads": 0, "likes": 0})

    def _file(self, name: str, revision: str, path: str) -> None:
        if (found := self._found(name, revision)) is None:
            return
        repository, commit = found
        contents = repository.commits[commit].get(unquote(path))
        if contents is None:
            self._error(404, "EntryNotFound")
        else:
            etag = hashlib.sha256(contents).hexdigest()
            self._send(200, contents, {"ETag": f'"{etag}"', "X-Repo-Commit": commit})

    def _json(self, value: object, status: int = 200) -> None:
        self._send(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _error(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code, "Content-Type": "application/json"})

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for key, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _entry(path: str, contents: bytes) -> dict[str, object]:
    oid = hashlib.sha1(contents).hexdigest()
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(contents), "oid": oid}
    if path.endswith(".safetensors"):
        sha256 = hashlib.sha256(contents).hexdigest()
        entry["lfs"] = {"oid": sha256, "sha256": sha256, "size": len(contents), "pointerSize": 130}
    return entry
