"""Errors that survive the wire: as a status with one `google.rpc.ErrorInfo`, and back."""

from __future__ import annotations

from typing import cast

import grpc
from google.protobuf import any_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from longvideo import errors, usage
from longvideo.v1 import types_pb2

ERROR_DOMAIN = "longvideo"

# An error travels in headers, of which gRPC's clients take 8 KiB, and drop a call with more: the status that was meant
# is then lost. A message goes there twice, and once with three bytes for each that is not ASCII.
MAX_MESSAGE_BYTES = 1000
MAX_VALUE_BYTES = 200

# Only the tree that everybody knows: a class of one part comes as the nearest one that its code says.
_CLASSES = {cls.__name__: cls for cls in errors.all_errors() if cls.__module__ == errors.__name__}
_BY_CODE: dict[grpc.StatusCode, type[errors.LongVideoError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: errors.InvalidArgument,
    grpc.StatusCode.UNAUTHENTICATED: errors.Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: errors.PermissionDenied,
    grpc.StatusCode.NOT_FOUND: errors.NotFound,
    grpc.StatusCode.ALREADY_EXISTS: errors.AlreadyExists,
    grpc.StatusCode.FAILED_PRECONDITION: errors.FailedPrecondition,
    grpc.StatusCode.RESOURCE_EXHAUSTED: errors.ResourceExhausted,
    grpc.StatusCode.UNAVAILABLE: errors.Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: errors.DeadlineExceeded,
    grpc.StatusCode.CANCELLED: errors.Cancelled,
}


def to_status(error: errors.LongVideoError) -> status_pb2.Status:
    """Returns the error as it goes over the wire: code, message, one ErrorInfo, RetryInfo, and the calls made."""
    metadata = {name: _cut(value, MAX_VALUE_BYTES) for name, value in error.metadata.items()}
    info = error_details_pb2.ErrorInfo(reason=error.reason, domain=ERROR_DOMAIN, metadata=metadata)
    info.metadata["class"] = type(error).__name__
    messages: list[Message] = [info, *map(usage.to_proto, error.calls)]
    if error.retry_after is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_after * 1e9))
        messages.append(retry)
    details = [any_pb2.Any() for _ in messages]
    for packed, message in zip(details, messages, strict=True):
        packed.Pack(message)
    said = _cut(error.message, MAX_MESSAGE_BYTES)
    return status_pb2.Status(code=error.code, message=said, details=details)


def _cut(text: str, size: int) -> str:
    # Half of a surrogate pair, which a file's name can hold, is nothing that the wire can say.
    data = text.encode("utf-8", "replace")
    return data.decode() if len(data) <= size else data[: size - 3].decode("utf-8", "ignore") + "…"


def from_rpc_error(error: grpc.RpcError) -> errors.LongVideoError:
    """Returns the error that the callee raised, or the nearest to what gRPC itself reports."""
    call = cast(grpc.Call, error)  # what a stub raises is both
    code = call.code()
    decoded = _BY_CODE.get(code, errors.Internal)(call.details() or code.name)
    status = rpc_status.from_call(call)
    if status is None:
        return decoded
    calls, retry_after = [], None
    for detail in status.details:
        info, made, retry = error_details_pb2.ErrorInfo(), types_pb2.ModelCall(), error_details_pb2.RetryInfo()
        if detail.Unpack(info) and info.domain == ERROR_DOMAIN:
            metadata = dict(info.metadata)
            cls = _CLASSES.get(metadata.pop("class", ""), type(decoded))
            decoded = cls(status.message, reason=info.reason)
            decoded.metadata = metadata
        elif detail.Unpack(made):
            calls.append(usage.from_proto(made))
        elif detail.Unpack(retry):
            retry_after = retry.retry_delay.ToNanoseconds() / 1e9
    decoded.calls, decoded.retry_after = tuple(calls), retry_after
    return decoded
