"""The API of Kubernetes, through the clients of Kubernetes and of KServe."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from client import words
from longvideo import errors
from longvideo.errors import BadSettings, LongVideoError

Object = dict[str, Any]
"""An object of Kubernetes, as its API gives it."""

_SECONDS = (5.0, 30.0)
"""Seconds until the API must be connected, and until it must have answered."""

_POD_TOKEN = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

_PANEL = "Which release"


@dataclass(frozen=True)
class Which:
    """Which release, in which cluster, a command is about."""

    kubeconfig: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="How the cluster is reached. Default: $KUBECONFIG, or ~/.kube/config; in a pod, the pod's token.",
            rich_help_panel=_PANEL,
        ),
    ] = None
    context: Annotated[
        str,
        typer.Option(metavar="NAME", help="A context of that file. Default: its current one.", rich_help_panel=_PANEL),
    ] = ""
    namespace: Annotated[
        str,
        typer.Option(
            "--namespace", "-n", metavar="NAME", help="Default: the context's, or `default`.", rich_help_panel=_PANEL
        ),
    ] = ""
    release: Annotated[
        str,
        typer.Option(metavar="NAME", help="Needed where the namespace has several releases.", rich_help_panel=_PANEL),
    ] = ""


class Kubernetes:
    """The API of a cluster. `kserve` is KServe's client of it.

    Raises the errors of `longvideo.errors`, with the API's own words: PermissionDenied where it forbids something,
    NotFound where there is no such thing.
    """

    def __init__(self, kserve: Any, namespace: str) -> None:
        from kubernetes import client  # noqa: PLC0415  # the extra

        self.kserve = kserve
        self.namespace = namespace
        self._api = client.ApiClient()
        self.host: str = self._api.configuration.host
        self.version = ""
        self.ahead = 0.0
        """How many seconds this machine's clock is ahead of the cluster's, to the second."""

    def greet(self) -> None:
        """Asks the API for its version, once: a cluster that is not there should not take long."""
        self._api.configuration.retries = False
        with self._explained("/version"):
            response = self._call("GET", "/version")
        self.version = str(json.loads(response.data)["gitVersion"])
        if said := response.headers.get("Date"):
            self.ahead = time.time() - parsedate_to_datetime(said).timestamp()

    def get(self, path: str, **query: str) -> Object:
        """Returns what is at a path."""
        with self._explained(path):
            found: Object = json.loads(self._call("GET", path, query).data)
        return found

    def text(self, path: str) -> str:
        """Returns what is at a path as the text that it is."""
        with self._explained(path):
            return bytes(self._call("GET", path).data).decode(errors="replace")

    def items(self, group: str, plural: str, *, selector: str = "", namespace: str | None = None) -> list[Object]:
        """Returns the objects of a kind in a namespace, or outside all for an empty one. `group` is `/api/v1`, say."""
        where = self.namespace if namespace is None else namespace
        path = f"{group}/namespaces/{where}/{plural}" if where else f"{group}/{plural}"
        found: list[Object] = self.get(path, **({"labelSelector": selector} if selector else {}))["items"]
        return found

    def patch(self, path: str, change: Mapping[str, Any]) -> Object:
        """Changes what is at a path, by a merge patch, and returns it."""
        headers = {"Content-Type": "application/merge-patch+json", "Accept": "application/json"}
        with self._explained(path):
            found: Object = json.loads(self._call("PATCH", path, headers=headers, body=change).data)
        return found

    @contextlib.contextmanager
    def explained(self, what: str) -> Iterator[None]:
        """Turns what KServe's client raises into our errors."""
        with self._explained(what):
            try:
                yield
            except RuntimeError as error:  # which is all that it raises; what happened hangs on it
                if error.__context__ is None:
                    raise
                raise error.__context__ from None

    def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        headers: Mapping[str, str] | None = None,
        body: Any = None,
    ) -> Any:
        """Returns the response as it is: what the client makes of one differs between its versions."""
        return self._api.call_api(
            f"{path}?{urlencode(query)}" if query else path,
            method,
            header_params=dict(headers or {"Accept": "application/json, */*;q=0.5"}),
            body=body,
            auth_settings=["BearerToken"],
            _preload_content=False,
            _request_timeout=_SECONDS,
            _return_http_data_only=True,
        )

    @contextlib.contextmanager
    def _explained(self, what: str) -> Iterator[None]:
        import urllib3.exceptions  # noqa: PLC0415  # with the extra
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415

        try:
            yield
        except ApiException as error:
            raise _refused(error, what, self.host) from None
        except urllib3.exceptions.HTTPError as error:
            raise errors.Unavailable(
                f"The Kubernetes API at {self.host} does not answer ({_reason(error)}). Check that the cluster "
                "runs, and that --kubeconfig and --context name the right one.",
                reason="KUBERNETES_UNREACHABLE",
            ) from None


def has_access(which: Which) -> bool:
    """Tells whether there is a cluster to talk to: a file that says how, or a pod's own token."""
    if which.kubeconfig is not None or which.context or _POD_TOKEN.exists():
        return True
    files = ["~/.kube/config"]
    if importlib.util.find_spec("kubernetes") is not None:
        from kubernetes.config import kube_config  # noqa: PLC0415  # the extra, which knows what KUBECONFIG says

        files = str(kube_config.KUBE_CONFIG_DEFAULT_LOCATION).split(kube_config.ENV_KUBECONFIG_PATH_SEPARATOR)
    return any(Path(file).expanduser().exists() for file in files)


def open_kubernetes(which: Which) -> Kubernetes:
    """Returns the cluster that the options name, once it has answered.

    Raises BadSettings where the extra or the file is missing, Unavailable, Unauthenticated and PermissionDenied.
    """
    if importlib.util.find_spec("kserve") is None:
        raise BadSettings(
            "This needs the clients of KServe and Kubernetes, which are not installed: "
            "pip install 'longvideo[cluster]' (in an image: build it with --build-arg EXTRAS=[cluster])",
            reason="EXTRA_MISSING",
        )
    import kserve  # noqa: PLC0415  # a second, and 200 MB that only this needs
    import yaml  # noqa: PLC0415  # with the extra
    from kubernetes import config  # noqa: PLC0415

    file = str(which.kubeconfig.expanduser()) if which.kubeconfig else None
    try:
        client = kserve.KServeClient(config_file=file, context=which.context or None, persist_config=False)
        namespace = which.namespace or _namespace(file, which.context)
    except (config.ConfigException, yaml.YAMLError, OSError, TypeError, KeyError) as error:
        raise BadSettings(
            f"No Kubernetes cluster can be told from {file or '$KUBECONFIG or ~/.kube/config'}: "
            f"{words.one_line(str(error), 200).rstrip('.')}. Give --kubeconfig FILE, or --context NAME for one of its "
            "contexts.",
            reason="NO_KUBECONFIG",
        ) from None
    kubernetes = Kubernetes(client, namespace)
    kubernetes.greet()
    return kubernetes


def _namespace(file: str | None, context: str) -> str:
    from kserve.utils import utils  # noqa: PLC0415  # the extra
    from kubernetes import config  # noqa: PLC0415

    if file is None and not context and utils.is_running_in_k8s():
        return str(utils.get_current_k8s_namespace())
    contexts, active = config.list_kube_config_contexts(file)
    chosen = next((each for each in contexts if each["name"] == context), active)
    return str(chosen["context"].get("namespace") or "default")


def _refused(error: Any, what: str, host: str) -> LongVideoError:
    try:
        said = str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):
        said = words.one_line(str(error.body or error.reason), 200)
    kinds: dict[int, type[LongVideoError]] = {
        401: errors.Unauthenticated,
        403: errors.PermissionDenied,
        404: errors.NotFound,
        409: errors.FailedPrecondition,
        422: errors.InvalidArgument,
    }
    if error.status == 401:
        said = f"The Kubernetes API at {host} does not know who you are: log in again, or mend the user of the context."
    kind = kinds.get(int(error.status or 0), errors.Unavailable)
    return kind(said if error.status in kinds else f"The Kubernetes API said {error.status} to {what}: {said}")


def _reason(error: Any) -> str:
    """Returns why no answer came, in few words."""
    cause = getattr(error, "reason", None) or error
    return words.one_line(str(cause).rpartition(": ")[2].strip(")( "), 120) or type(cause).__name__
