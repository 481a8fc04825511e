"""The description of the service: it is complete, and the committed one is current."""

import json
from importlib.metadata import version
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from pydantic import TypeAdapter

from everygram import Index
from everygram.lm.model import LanguageModel
from everygram.server import openapi
from everygram.server.answering import OPERATIONS, ROUTERS

COMMITTED = openapi.FILE
MANUAL = Path(__file__).parents[2] / "docs" / "service.md"

# What answers a public method, or attribute, of `Index` over HTTP: a query, or a page to GET.
REST = {name: name for name in OPERATIONS} | {
    "count_batch": "count",
    "document_count": "count",
    "document_count_batch": "count",
    "count_text_batch": "count_text",
    "document_count_text": "count_text",
    "prob_batch": "prob",
    "ntd_batch": "ntd",
    "infgram_prob_batch": "infgram_prob",
    "infgram_ntd_batch": "infgram_ntd",
    "score_batch": "score",
    "novelty_batch": "novelty",
    "encode_prob": "encode",
    # (A batch of `document`; POST …/documents adds documents.)
    "documents": "document",
    "language_model": "next_probs",
    "tokenizer": "/v1/indexes/{name}/tokenizer",
    **dict.fromkeys(
        ("info", "num_documents", "num_tokens", "separator", "version", "vocab_size"),
        "/v1/indexes/{name}",
    ),
}
# The same of `LanguageModel`.
LM_REST = {
    "prob": "lm_prob",
    "distribution": "next_probs",
    "log_probs": "log_probs",
    "log_probs_batch": "log_probs",
    "longest_suffix_batch": "longest_suffix",
    "perplexity": "perplexity",
    "sample": "sample",
    "sample_batch": "sample",
    "normalized": "next_probs",
    "separator": "/v1/indexes/{name}",
    "vocab_size": "/v1/indexes/{name}",
}
# What is of an object in a process, not of the index.
LOCAL = {"changed", "close", "disturbed", "engine", "latest", "manifest", "refresh", "warm_up"}
LOCAL |= {"missing_segments"}  # (A service over Ray has whole indexes, or none.)
LM_LOCAL = {"context", "order", "smoothing"}


@pytest.fixture(scope="module")
def description():
    return json.loads(openapi.document())


@pytest.fixture(scope="module")
def queries(description):
    """The queries' descriptions, by operation."""
    return {
        path.rpartition("/")[2]: operations["post"]
        for path, operations in description["paths"].items()
        if "queries" in operations.get("post", {}).get("tags", ())
    }


def public(of):
    return {name for name in dir(of) if not name.startswith("_")}


def test_every_method_of_an_index_has_its_query(description):
    served = OPERATIONS.keys() | description["paths"].keys()
    assert public(Index) - LOCAL <= REST.keys(), "give new methods a query, and a place in REST"
    assert public(LanguageModel) - LM_LOCAL <= LM_REST.keys()
    assert {*REST.values(), *LM_REST.values()} <= served
    assert public(Index) >= LOCAL and public(LanguageModel) >= LM_LOCAL | LM_REST.keys()
    # And nothing else is one.
    assert {*REST.values(), *LM_REST.values()} >= OPERATIONS.keys()


def test_the_committed_description_is_current():
    made = openapi.document()
    assert COMMITTED.read_text() == made, "run: python -m everygram.server.openapi"
    assert made == openapi.document()


def test_the_service_is_described(description):
    assert description["openapi"].startswith("3.1")
    assert description["info"]["title"] == "everygram"
    assert description["info"]["version"] == version("everygram")
    assert len(description["info"]["description"]) > 500
    assert description["components"]["securitySchemes"]["key"]["scheme"] == "bearer"


def test_everything_has_a_description(description):
    names = [each["operationId"] for each in openapi.operations(description)]
    assert len(names) == len({*names})
    for operation in openapi.operations(description):
        name = operation["operationId"]
        assert operation["summary"] and operation["description"], name
        assert operation["tags"], name
        for parameter in operation.get("parameters", ()):
            assert parameter["description"], (name, parameter["name"])
        for response in operation["responses"].values():
            assert resolved(description, response)["description"], name
    for name, schema in description["components"]["schemas"].items():
        assert schema["description"], name
        for field, of_field in schema.get("properties", {}).items():
            assert of_field.get("description"), f"{name}.{field}"


def resolved(description, response):
    if "$ref" not in response:
        return response
    assert response["$ref"].startswith("#/components/responses/")
    return description["components"]["responses"][response["$ref"].rpartition("/")[2]]


def test_every_error_is_a_problem(description):
    for operation in openapi.operations(description):
        assert "default" in operation["responses"]
        for status, response in operation["responses"].items():
            response = resolved(description, response)
            assert "X-Request-Id" in response["headers"]
            if status[0] in "23" or (status == "503" and operation["tags"] == ["service"]):
                continue
            (media_type,) = response["content"]
            if operation["operationId"] == "infini_gram_api" and status == "400":
                continue  # as its clients know it
            assert media_type == "application/problem+json", operation["operationId"]
            assert response["content"][media_type]["schema"] == openapi.PROBLEM
            assert ("Retry-After" in response["headers"]) == (status in ("429", "503"))
            assert ("WWW-Authenticate" in response["headers"]) == (status == "401")


def test_every_query_takes_one_a_batch_or_lines(description, queries):
    assert queries.keys() == OPERATIONS.keys()
    for name, operation in queries.items():
        content = operation["requestBody"]["content"]
        assert content.keys() == {"application/json", "application/x-ndjson"}, name
        assert operation["requestBody"]["required"], name
        answers = operation["responses"]["200"]["content"]
        assert answers.keys() == content.keys(), name
        assert {*operation["responses"]} >= {
            "400", "401", "403", "404", "409", "413", "415", "422", "429", "503", "504", "default"
        }  # fmt: skip
        assert operation["security"] == [{"key": []}, {}]
        one, batch = content["application/json"]["schema"]["oneOf"]
        schemas = description["components"]["schemas"]
        assert "batch" in schemas[batch["$ref"].rpartition("/")[2]]["required"]
        echo = "echo" in schemas[one["$ref"].rpartition("/")[2]]["properties"]
        assert echo == ("echo" in schemas[batch["$ref"].rpartition("/")[2]]["properties"]), name


@pytest.mark.parametrize("field", ["cursor"])
def test_what_has_pages_takes_and_gives_cursors(description, queries, field):
    schemas = description["components"]["schemas"]
    paged = set()
    for name, operation in queries.items():
        one = operation["requestBody"]["content"]["application/json"]["schema"]["oneOf"][0]
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]["anyOf"][0]
        given, got = (
            field in schemas[each["$ref"].rpartition("/")[2]]["properties"]
            for each in (one, answer)
        )
        assert given == got, name
        paged |= {name} if given else set()
    assert paged >= {"find", "find_text", "search"}


def test_pages_are_described_with_their_etags(description):
    for path, operations in description["paths"].items():
        if path.startswith("/v1/indexes") and "get" in operations:
            operation = operations["get"]
            if "304" in operation["responses"]:
                for status in ("200", "304"):
                    assert "ETag" in operation["responses"][status]["headers"], path
                names = [each["name"] for each in operation["parameters"]]
                assert "if-none-match" in names, path
    document = description["paths"]["/v1/indexes/{name}/documents/{number}"]["get"]
    assert "304" in document["responses"]


QUERIES = {route.name: route for router in ROUTERS for route in router.routes}


@pytest.mark.parametrize("name", QUERIES)
def test_every_example_has_the_form_it_should(queries, name):
    route, operation = QUERIES[name], queries[name]
    assert isinstance(route, APIRoute)
    content = operation["requestBody"]["content"]
    examples = content["application/json"]["examples"]
    assert "batch" in examples and len(examples) > 2
    for example in examples.values():
        OPERATIONS[name].body.validate_python(example["value"])
    lines = content["application/x-ndjson"]["example"].splitlines()
    assert [json.loads(line) for line in lines] == examples["batch"]["value"]["batch"]
    answers = operation["responses"]["200"]["content"]["application/json"]["examples"]
    assert answers.keys() == {"one", "batch"}
    for answer in answers.values():
        found = TypeAdapter(route.response_model).validate_python(answer["value"])
        assert json.loads(found.model_dump_json()) == answer["value"]
        assert answer["value"]["index_version"]


def test_an_example_is_of_what_fields_say():
    schemas = {"A": {"type": "object", "properties": {"a": {"type": "integer", "examples": [7]}}}}
    of = {"$ref": "#/components/schemas/A"}
    assert openapi.example(of, schemas) == {"a": 7}
    assert openapi.example({"type": "array", "items": of}, schemas) == [{"a": 7}]
    assert openapi.example({"anyOf": [of, {"type": "null"}]}, schemas) == {"a": 7}
    assert openapi.example({"anyOf": [{"type": "null"}, {"type": "string"}]}, schemas) is None
    pair = {"type": "array", "prefixItems": [{"type": "boolean"}, {"type": "number"}]}
    assert openapi.example(pair, schemas) == [False, 0.0]
    assert openapi.example({"type": "string", "enum": ["x", "y"]}, schemas) == "x"
    assert openapi.example({"const": 3}, schemas) == 3


def test_the_manual_says_how_the_description_is_made():
    assert "python -m everygram.server.openapi" in MANUAL.read_text()
