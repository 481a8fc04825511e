"""The description of the service (OpenAPI 3.1): what FastAPI says of its routes, and the rest.

FastAPI knows the bodies and the answers. It does not know that errors are problem+json, that a
batch may be lines, that a key may be needed, which headers there are, and what answers look like.

    python -m everygram.server.openapi

writes the description that is beside this module, and that the service gives: making it takes
longer than a request may. A test keeps it current.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from everygram.server.problems import PROBLEM_JSON

JSON, NDJSON = "application/json", "application/x-ndjson"
LINES = "A query per line, as in a batch; blank lines are left out."
ANSWER_LINES = (
    "An answer per line, in order; of a line that is refused an object with its number `line`, "
    "from 1, and the `problem`."
)
KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key made by `everygram keys add`, if the service was started with keys.",
}
# Headers of answers: name, description, and the statuses that have them (none: all).
HEADERS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("X-Request-Id", "That of the request, or a new one; log and problems have it.", ()),
    ("Retry-After", "Seconds to wait.", ("429", "503")),
    ("WWW-Authenticate", "Bearer: what is wanted.", ("401",)),
)
PROBLEM = {"$ref": "#/components/schemas/Problem"}
# Parts of paths that a route says nothing of.
PARAMETERS = {"name": "The index's name, as `GET /v1/indexes` lists it.", "job": "The job's id."}
ETAG = "Names this content of the page."


def described(schema: dict[str, Any]) -> dict[str, Any]:
    """FastAPI's description of routes, completed. It is changed."""
    components = schema.setdefault("components", {})
    schemas = components.get("schemas", {})
    components["securitySchemes"] = {"key": KEY}
    components["headers"] = {
        name: {"description": said, "schema": {"type": "string"}}
        for name, said, _ in (*HEADERS, ("ETag", ETAG, ()))
    }
    for operation in operations(schema):
        if "service" not in operation.get("tags", ()):
            operation["security"] = [{"key": []}, {}]
        if "queries" in operation.get("tags", ()):
            _describe_lines(operation)
        for parameter in operation.get("parameters", ()):
            said = parameter["schema"].get("description") or PARAMETERS.get(parameter["name"])
            parameter.setdefault("description", said)
        responses = operation["responses"]
        for status, response in responses.items():
            _describe_response(status, response, schemas)
            if "304" in responses and status in ("200", "304"):
                response["headers"]["ETag"] = {"$ref": "#/components/headers/ETag"}
        # Problems are the same for all operations of a kind: they stand in one place.
        for status in [
            each for each in responses if PROBLEM_JSON in responses[each].get("content", ())
        ]:
            name = f"{operation['tags'][0]}-{status}"
            shared = components.setdefault("responses", {})
            if shared.setdefault(name, responses[status]) == responses[status]:
                responses[status] = {"$ref": f"#/components/responses/{name}"}
    return schema


def operations(schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """All operations of all paths."""
    for path in schema["paths"].values():
        yield from path.values()


def _describe_lines(operation: dict[str, Any]) -> None:
    """A batch as lines: the examples of a batch, a query per line."""
    content = operation["requestBody"]["content"]
    batch = content[JSON]["examples"]["batch"]["value"]["batch"]
    content[NDJSON] = {
        "schema": {"type": "string", "description": LINES},
        "example": "".join(f"{json.dumps(query, ensure_ascii=False)}\n" for query in batch),
    }
    operation["responses"]["200"]["content"][NDJSON] = {
        "schema": {"type": "string", "description": ANSWER_LINES}
    }


def _describe_response(status: str, response: dict[str, Any], schemas: dict[str, Any]) -> None:
    content = response.get("content", {})
    if content.get(JSON, {}).get("schema") == PROBLEM:
        content[PROBLEM_JSON] = content.pop(JSON)
    for media_type, of_media in content.items():
        if media_type != NDJSON and "example" not in of_media and "examples" not in of_media:
            of_media["examples"] = {
                name: {"value": value} for name, value in _examples(of_media["schema"], schemas)
            }
    response["headers"] = {
        name: {"$ref": f"#/components/headers/{name}"}
        for name, _, statuses in HEADERS
        if not statuses or status in statuses
    }


def _examples(schema: dict[str, Any], schemas: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Examples of an answer, by name: to one query and to a batch, where there are two forms."""
    forms = schema.get("anyOf", [schema])
    batches = [form for form in forms if "/Results_" in form.get("$ref", "")]
    ones = [form for form in forms if form not in batches]
    if ones:
        yield "one", example(ones[-1], schemas)
    if batches:
        yield "batch", example(batches[0], schemas)


def example(schema: dict[str, Any], schemas: dict[str, Any]) -> Any:
    """A value of this form, of the examples that its fields have; else of what is simplest."""
    if "$ref" in schema:
        return example(schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "examples" in schema:
        return schema["examples"][0]
    if "default" in schema:
        return schema["default"]
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return schema["enum"][0]
    for forms in (schema.get("anyOf"), schema.get("oneOf")):
        if forms:
            # (The last form of a document has no more fields than it needs.)
            named = [form for form in forms if "$ref" in form]
            return example(named[-1] if named else forms[0], schemas)
    if "prefixItems" in schema:
        return [example(each, schemas) for each in schema["prefixItems"]]
    kind = schema.get("type")
    if kind == "array":
        return [example(schema["items"], schemas)]
    if kind == "object":
        fields = schema.get("properties", {})
        return {name: example(field, schemas) for name, field in fields.items()}
    simplest: dict[Any, Any] = {"string": "", "integer": 0, "number": 0.0, "boolean": False}
    return simplest.get(kind)


# The description, written.
FILE = Path(__file__).with_name("openapi.json")


def document() -> str:
    """The description, made anew."""
    from everygram.server import pages
    from everygram.server.indexes import Indexes
    from everygram.server.settings import Settings

    settings = Settings()
    schema = described(pages.create(settings, Indexes(settings)).openapi())
    return json.dumps(schema, indent=1, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(document())
