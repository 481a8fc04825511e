"""Spans: with an OpenTelemetry provider, one a request, in the client's trace; else none."""

import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from everygram.server import tracing

SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/v1/indexes/wiki/count",
    "scheme": "http",
    "http_version": "1.1",
    "query_string": b"a=1",
    "client": ("10.0.0.7", 5000),
    "server": ("127.0.0.1", 8000),
    "headers": [
        (b"user-agent", b"curl/8"),
        (b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
    ],
}
ROUTE = "/v1/indexes/{name}/count"


@pytest.fixture
def exporter(monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # (A provider can be set once a process.)
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    return exporter


def test_a_request_is_a_span_of_the_clients_trace(exporter):
    with tracing.span(SCOPE) as answered:
        current = trace.get_current_span().get_span_context()
        answered(200, ROUTE)
    (span,) = exporter.get_finished_spans()
    assert span.name == f"POST {ROUTE}"
    assert span.kind is trace.SpanKind.SERVER
    assert span.context.span_id == current.span_id
    assert f"{span.context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"
    assert f"{span.parent.span_id:016x}" == "b7ad6b7169203331"
    assert span.parent.is_remote
    assert span.status.is_unset
    assert dict(span.attributes) == {
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "http.route": ROUTE,
        "url.path": "/v1/indexes/wiki/count",
        "url.scheme": "http",
        "url.query": "a=1",
        "user_agent.original": "curl/8",
        "client.address": "10.0.0.7",
        "client.port": 5000,
        "server.address": "127.0.0.1",
        "server.port": 8000,
        "network.protocol.version": "1.1",
    }


def test_a_failure_is_an_error_a_refusal_is_not(exporter):
    for status in (422, 503):
        with tracing.span(SCOPE) as answered:
            answered(status, "")
    refused, failed = exporter.get_finished_spans()
    assert refused.name == failed.name == "POST"
    assert "http.route" not in refused.attributes
    assert "error.type" not in refused.attributes
    assert refused.status.is_unset
    assert failed.attributes["error.type"] == "503"
    assert failed.status.status_code is trace.StatusCode.ERROR


def test_a_method_of_the_clients_own_makes_no_name(exporter):
    with tracing.span(SCOPE | {"method": "MINE", "headers": [], "client": None}) as answered:
        answered(405, "")
    (span,) = exporter.get_finished_spans()
    assert span.name == "HTTP"
    assert span.attributes["http.request.method"] == "_OTHER"
    assert span.attributes["http.request.method_original"] == "MINE"
    assert span.parent is None


def test_an_exception_goes_on_and_is_recorded(exporter):
    with pytest.raises(KeyError), tracing.span(SCOPE):
        raise KeyError("x")
    (span,) = exporter.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert [event.name for event in span.events] == ["exception"]


def test_without_a_provider_nothing_is_made():
    first, second = tracing.span(SCOPE), tracing.span({})
    assert first is second
    with first as answered:
        answered(200, ROUTE)
        assert not trace.get_current_span().get_span_context().is_valid


def test_without_opentelemetry_nothing_is_made():
    script = (
        "import sys; sys.modules['opentelemetry'] = None\n"
        "from everygram.server import tracing\n"
        "with tracing.span({}) as answered: answered(200, '')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
