"""The API of Kubernetes, as far as the product's commands and Helm talk to it: over HTTP, on a loopback port.

It keeps objects as they are given, knows the kinds of the groups that are installed, answers lists with selectors,
merge patches, watches and the errors of a real server in their form, and forbids what `forbidden` says. No controller
runs: `tests.parts.controllers` makes pods and writes statuses.
"""

from __future__ import annotations

import copy
import http.server
import itertools
import json
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from tests.parts.kinds import KINDS, Kind, discovery

Object = dict[str, Any]
TOKEN = "a-token"


class Refusal(Exception):
    """An answer that is a Status."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "reason": reason}
        self.body["code"] = str(code)


class Kubernetes:
    """A server. Tests change its attributes, and the objects in it, while it runs."""

    def __init__(self) -> None:
        self.kinds = list(KINDS)
        self.version = "v1.34.2"
        self.forbidden: set[tuple[str, str]] = set()
        """What the caller may not do: pairs of a verb and a resource, such as `("list", "nodes")`."""
        self.metrics: Callable[[str], str | None] = lambda pod: None
        """What a pod's port answers to GET /metrics, by its name; None where nothing listens."""
        self.logs: Callable[[str], str] = lambda pod: f"the log of {pod}\n"
        self.requests: list[str] = []
        self.changed: Callable[[Kubernetes], None] = lambda server: None
        """Called after each change, as controllers are."""
        self._objects: dict[tuple[str, str, str], Object] = {}
        self._numbers = itertools.count(1)
        self.lock = threading.RLock()
        self.news = threading.Condition(self.lock)
        self.history: list[tuple[int, str, str, Object]] = []
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        """Stops the server."""
        self._http.shutdown()
        self._http.server_close()

    def kubeconfig(self, path: Path, token: str = TOKEN, namespace: str = "video") -> Path:
        """Writes a file by which clients find the server, and returns it."""
        written = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "here",
            "clusters": [{"name": "here", "cluster": {"server": self.url}}],
            "users": [{"name": "me", "user": {"token": token}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me", "namespace": namespace}}],
        }
        path.write_text(yaml.safe_dump(written))
        return path

    def add(self, thing: Object) -> Object:
        """Adds an object, or replaces it."""
        kind = next(each for each in KINDS if (each.version, each.kind) == (thing["apiVersion"], thing["kind"]))
        metadata = thing["metadata"]
        return self.put(
            (kind.plural, metadata.get("namespace", "") if kind.namespaced else "", metadata["name"]), thing
        )

    def put(self, key: tuple[str, str, str], thing: Object) -> Object:
        """Keeps an object."""
        with self.lock:
            fresh = key not in self._objects
            kept = copy.deepcopy(thing)
            number = next(self._numbers)
            kept["metadata"].setdefault("uid", f"00000000-0000-4000-8000-{number:012d}")
            kept["metadata"].setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
            kept["metadata"]["resourceVersion"] = str(number)
            self._objects[key] = kept
            self._tell(number, "ADDED" if fresh else "MODIFIED", key[0], kept)
            self.changed(self)
            return kept

    def get(self, plural: str, name: str, namespace: str = "video") -> Object:
        """Returns an object as it is kept, to be changed where it is."""
        return self._objects[plural, namespace, name]

    def delete(self, plural: str, name: str, namespace: str = "video") -> Object:
        """Removes an object."""
        with self.lock:
            gone = self._objects.pop((plural, namespace, name))
            number = next(self._numbers)
            self._tell(number, "DELETED", plural, gone)
            self.changed(self)
            return gone

    def all(self, plural: str) -> list[Object]:
        """Returns the objects of a kind."""
        with self.lock:
            return [each for (kind, _, _), each in sorted(self._objects.items()) if kind == plural]

    def without(self, group: str) -> None:
        """Takes a group of kinds away, as if nobody had installed its definitions."""
        self.kinds = [each for each in self.kinds if not each.version.startswith(f"{group}/")]

    def _tell(self, number: int, what: str, plural: str, thing: Object) -> None:
        self.history.append((number, what, plural, copy.deepcopy(thing)))
        self.news.notify_all()


class About(NamedTuple):
    """What a request is about."""

    kind: Kind
    namespace: str
    name: str
    sub: str


def _parsed(server: Kubernetes, path: str) -> About:
    parts = [unquote(part) for part in path.strip("/").split("/")]
    version, rest = ("v1", parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
    namespace = ""
    if rest[:1] == ["namespaces"] and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    plural = rest[0] if rest else ""
    kind = next((each for each in server.kinds if (each.version, each.plural) == (version, plural)), None)
    if kind is None:
        raise Refusal(404, "NotFound", "the server could not find the requested resource")
    return About(kind, namespace, rest[1] if len(rest) > 1 else "", "/".join(rest[2:]))


def _answer(server: Kubernetes, method: str, target: str, body: Any) -> Any:
    """Returns what a request is answered."""
    split = urlsplit(target)
    query = {name: values[-1] for name, values in parse_qs(split.query).items()}
    told = discovery(server.kinds, server.version, split.path) if method == "GET" else None
    if told is not None:
        return told
    about = _parsed(server, split.path)
    _allow(server, method, about)
    with server.lock:
        return _DONE[method](server, about, query, body)


def _allow(server: Kubernetes, method: str, about: About) -> None:
    verbs = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
    verb = verbs.get(method, "get" if about.name else "list")
    resource = about.kind.plural + (f"/{about.sub.split('/')[0]}" if about.sub else "")
    if (verb, resource) in server.forbidden:
        group = about.kind.version.rpartition("/")[0]
        where = f'in the namespace "{about.namespace}"' if about.namespace else "at the cluster scope"
        name = f' "{about.name}"' if about.name else ""
        raise Refusal(
            403,
            "Forbidden",
            f'{about.kind.called}{name} is forbidden: User "me" cannot {verb} resource "{resource}" in API group '
            f'"{group}" {where}',
        )


def _found(server: Kubernetes, about: About) -> Object:
    try:
        return server.get(about.kind.plural, about.name, about.namespace)
    except KeyError:
        raise Refusal(404, "NotFound", f'{about.kind.called} "{about.name}" not found') from None


def _get(server: Kubernetes, about: About, query: dict[str, str], _body: Any) -> Any:
    if about.sub == "log":
        return server.logs(_found(server, about)["metadata"]["name"])
    if about.name and about.sub.startswith("proxy"):
        pod = about.name.split(":")[0]
        _found(server, about._replace(name=pod))
        text = server.metrics(pod) if about.sub == "proxy/metrics" else None
        if text is None:
            raise Refusal(503, "ServiceUnavailable", f"error trying to reach service: dial tcp {pod}: i/o timeout")
        return text
    if about.name:
        return _scale(_found(server, about)) if about.sub == "scale" else _found(server, about)
    found = [
        each
        for each in server.all(about.kind.plural)
        if about.namespace in {"", each["metadata"].get("namespace", "")} and _selected(each, query)
    ]
    listed = {"kind": f"{about.kind.kind}List", "apiVersion": about.kind.version, "items": found}
    return {**listed, "metadata": {"resourceVersion": str(server.history[-1][0] if server.history else 0)}}


def _scale(thing: Object) -> Object:
    """Returns how many replicas there are, as an object of its own."""
    metadata = {name: thing["metadata"][name] for name in ("name", "namespace", "uid", "resourceVersion")}
    spec, status = thing["spec"], thing.get("status", {})
    told = {"spec": {"replicas": spec.get("replicas", 1)}, "status": {"replicas": status.get("replicas", 0)}}
    return {"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata, **told}


def _selected(thing: Object, query: dict[str, str]) -> bool:
    labels = thing["metadata"].get("labels") or {}
    wanted = [part for part in query.get("labelSelector", "").split(",") if part]
    named = query.get("fieldSelector", "").removeprefix("metadata.name=")
    return all(_matches(labels, part) for part in wanted) and named in {"", thing["metadata"]["name"]}


def _matches(labels: dict[str, str], part: str) -> bool:
    name, _, value = part.replace("==", "=").partition("=")
    return labels.get(name) == value


def _post(server: Kubernetes, about: About, _query: dict[str, str], body: Any) -> Any:
    name = body["metadata"]["name"]
    key = about.kind.plural, about.namespace, name
    if key in server._objects:  # this is the server
        raise Refusal(409, "AlreadyExists", f'{about.kind.called} "{name}" already exists')
    body["metadata"].setdefault("namespace", about.namespace)
    return server.put(key, body)


def _put(server: Kubernetes, about: About, _query: dict[str, str], body: Any) -> Any:
    kept = _found(server, about)
    version = body["metadata"].get("resourceVersion")
    if version not in {None, kept["metadata"]["resourceVersion"]}:
        message = f'Operation cannot be fulfilled on {about.kind.called} "{about.name}": the object has been modified'
        raise Refusal(409, "Conflict", message)
    return server.put((about.kind.plural, about.namespace, about.name), body)


def _patch(server: Kubernetes, about: About, _query: dict[str, str], body: Any) -> Any:
    key = about.kind.plural, about.namespace, about.name
    if about.sub == "scale":
        replicas = {"spec": {"replicas": body["spec"]["replicas"]}}
        return _scale(server.put(key, merged(_found(server, about), replicas)))
    if key not in server._objects and "metadata" in body and "name" in body["metadata"]:
        return server.put(key, body)  # what is applied need not be there
    return server.put(key, merged(_found(server, about), body))


def merged(thing: Any, change: Any) -> Any:
    """Returns what RFC 7396 makes of both."""
    if not isinstance(change, dict):
        return change
    kept = dict(thing) if isinstance(thing, dict) else {}
    for name, each in change.items():
        if each is None:
            kept.pop(name, None)
        else:
            kept[name] = merged(kept.get(name), each)
    return kept


def _delete(server: Kubernetes, about: About, _query: dict[str, str], _body: Any) -> Any:
    _found(server, about)
    return server.delete(about.kind.plural, about.name, about.namespace)


_DONE = {"GET": _get, "POST": _post, "PUT": _put, "PATCH": _patch, "DELETE": _delete}


def _handler(server: Kubernetes) -> type[http.server.BaseHTTPRequestHandler]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # the head and the body are two writes: the second would wait 40 ms

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            server.requests.append(f"{self.command} {self.path}")
            try:
                # Go's clients show no token where nothing is encrypted.
                if self.headers.get("authorization") not in {None, f"Bearer {TOKEN}"}:
                    raise Refusal(401, "Unauthorized", "Unauthorized")
                if "watch=" in self.path:
                    self._watch()
                    return
                given = yaml.safe_load(body) if body else {}
                if "json-patch" in self.headers.get("content-type", "") and not isinstance(given, list):
                    raise Refusal(400, "BadRequest", "json: cannot unmarshal object into Go value of type []handlers")
                answer: Any = _answer(server, self.command, self.path, given)
                code = 201 if self.command == "POST" else 200
            except Refusal as refusal:
                answer, code = {**refusal.body, "code": refusal.code}, refusal.code
            text = isinstance(answer, str)
            data = answer.encode() if text else json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "text/plain" if text else "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def _watch(self) -> None:
            split = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(split.query).items()}
            about = _parsed(server, split.path)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in _events(server, about, query):
                data = json.dumps(event).encode() + b"\n"
                try:
                    self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
                    self.wfile.flush()
                except OSError:
                    return  # who watched has gone

        do_GET = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815  # the base class says so

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _events(server: Kubernetes, about: About, query: dict[str, str]) -> Iterator[Object]:
    """Yields what happens to the objects that are watched, from a moment on."""
    seen = int(query.get("resourceVersion") or 0)
    if "sendInitialEvents" in query:
        with server.lock:
            seen = server.history[-1][0] if server.history else 0
            there = _get(server, about._replace(name=""), query, None)["items"]
        yield from ({"type": "ADDED", "object": each} for each in there)
        told = {"resourceVersion": str(seen), "annotations": {"k8s.io/initial-events-end": "true"}}
        yield {
            "type": "BOOKMARK",
            "object": {"kind": about.kind.kind, "apiVersion": about.kind.version, "metadata": told},
        }
    at = next((place for place, entry in enumerate(server.history) if entry[0] > seen), len(server.history))
    while True:
        with server.news:
            while at >= len(server.history):
                if not server.news.wait(60):
                    return
            _, what, plural, thing = server.history[at]
        at += 1
        mine = plural == about.kind.plural and about.namespace in {"", thing["metadata"].get("namespace", "")}
        if mine and _selected(thing, query):
            yield {"type": what, "object": thing}
