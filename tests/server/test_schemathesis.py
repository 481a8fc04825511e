"""The service keeps to its own description: schemathesis makes up requests from it.

Requests that are as described and others that are not, of every operation, of an index with a
tokenizer and of one without. They are the same each time.
"""

import json

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.config import SchemathesisConfig

import everygram
from conftest import write_jsonl
from everygram.server import openapi
from everygram.server.app import create_app
from everygram.server.settings import Settings

DESCRIPTION = openapi.FILE
TEXTS = ["natural language processing", "natural language", "", "it was the best of times"]
# Requests that are made up for an operation, beside those for each of its fields.
EXAMPLES = 1


@pytest.fixture(scope="module", autouse=True)
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("described")
    source = write_jsonl(folder / "corpus.jsonl", [{"text": text} for text in TEXTS])
    everygram.build(source, folder / "text", "train:260")
    np.array([0, 1, 2, 0, 2, 3], "<u1").tofile(folder / "ids.bin")
    everygram.build(folder / "ids.bin", folder / "ids", pretokenized="u8", separator_id=0)
    indexes = {name: folder / name for name in ("text", "ids")}
    # (A sample of as many tokens as a query may have takes long.)
    given = Settings(indexes=indexes, access_log=False, max_query_tokens=100)
    later.append(create_app(given))
    yield
    later.clear()


# The service, which is there once the tests run: what they are is known before.
later = []


async def application(scope, receive, send):
    # (It is not told of each client's coming and going: it would think that it is to end.)
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    await later[0](scope, receive, send)


def described(name, every_field):
    """The service as it is described, for one of its indexes.

    every_field: whether each field is given values at its bounds, and of other types.
    """
    config = SchemathesisConfig.from_dict(
        {
            "parameters": {"path.name": name},
            "generation": {"deterministic": True, "mode": "all"},
            "phases": {"coverage": {"enabled": every_field}},
            "checks": {
                # What has the right form may have no answer: an id outside the vocabulary, say.
                # (403: without keys nobody may write.)
                "positive_data_acceptance": {"expected-statuses": ["2xx", "403", "404", "422"]},
            },
        }
    )
    description = json.loads(DESCRIPTION.read_text())
    # (GET of it is a document whose number is "delete": 422, not 405.)
    description["paths"].pop("/v1/indexes/{name}/documents/delete", None)
    for operation in openapi.operations(description):
        # (Lines are refused one by one, in an answer that is not a problem.)
        operation.get("requestBody", {"content": {}})["content"].pop(openapi.NDJSON, None)
    schema = schemathesis.openapi.from_dict(description, config=config)
    schema.app = application
    return schema


made_up = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)


@described("text", every_field=True).parametrize()
@made_up
def test_a_service_of_text_keeps_to_its_description(case):
    case.call_and_validate()


@described("ids", every_field=False).parametrize()
@made_up
def test_a_service_of_ids_keeps_to_its_description(case):
    case.call_and_validate()
