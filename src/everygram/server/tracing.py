"""Spans of OpenTelemetry, if its API is installed and a tracer provider is set; else nothing.

In: the ASGI scope of a request. Out: a span of kind server, child of the one the client's headers
name, with the attributes of OpenTelemetry's conventions for HTTP.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

try:
    from opentelemetry import propagate, trace
except ModuleNotFoundError:  # pragma: no cover
    INSTALLED = False
else:
    INSTALLED = True

Answered = Callable[[int, str], None]
_METHODS = {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY"}


def _untraced(status: int, route: str) -> None:
    pass


_NOTHING: AbstractContextManager[Answered] = nullcontext(_untraced)


def span(scope: Mapping[str, Any]) -> AbstractContextManager[Answered]:
    """The span of a request while it is answered.

    Gives a function to call with the status of the answer and the path's pattern, such as
    `/v1/indexes/{name}/count` ("": no such path), by which spans are grouped.
    """
    if not INSTALLED or isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return _NOTHING
    return _span(scope)


@contextmanager
def _span(scope: Mapping[str, Any]) -> Iterator[Answered]:
    headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
    method = scope["method"] if scope["method"] in _METHODS else "_OTHER"
    name = "HTTP" if method == "_OTHER" else method
    attributes: dict[str, str | int] = {
        "http.request.method": method,
        "url.path": scope["path"],
        "url.scheme": scope["scheme"],
        "network.protocol.version": scope["http_version"],
    }
    if method == "_OTHER":
        attributes["http.request.method_original"] = scope["method"]
    if query := scope["query_string"]:
        attributes["url.query"] = query.decode("latin-1")
    if agent := headers.get("user-agent"):
        attributes["user_agent.original"] = agent
    for place, prefix in (("client", "client"), ("server", "server")):
        if scope.get(place):
            address, port = scope[place]
            attributes[f"{prefix}.address"] = address
            if port:
                attributes[f"{prefix}.port"] = port
    tracer = trace.get_tracer("everygram.server")
    with tracer.start_as_current_span(
        name, propagate.extract(headers), trace.SpanKind.SERVER, attributes
    ) as current:

        def answered(status: int, route: str) -> None:
            current.set_attribute("http.response.status_code", status)
            if route:
                current.update_name(f"{name} {route}")
                current.set_attribute("http.route", route)
            if status >= 500:
                current.set_attribute("error.type", str(status))
                current.set_status(trace.StatusCode.ERROR)

        yield answered
