"""`everygram serve --ray`: the answers of a service that reads the index itself."""

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

import everygram

RUN = "from everygram.cli.app import run; run()"
ASKED = {
    "count": {"query": "the cat", "documents": True},
    "count_text": {"text": "he c"},
    "prob": {"query": "the", "continuation": " "},
    "infgram_prob": {"query": "xthe ca", "continuation": "t"},
    "infgram_ntd": {"prompt": "the ", "top": 9},
    "find": {"query": "cat", "limit": 5, "context": 9},
    "search": {"expression": "cat AND mat", "limit": 3},
    "score": {"text": "the cat sat"},
    "attribute": {"text": "a cat sat on the mat, it sat there"},
}


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    texts = [f"the cat sat on mat {number}" for number in range(30)]
    for name, some in (("a", texts[:20]), ("b", texts[20:])):
        lines = [json.dumps({"text": text}) for text in some]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    everygram.build(folder / "a.jsonl", folder / "index")
    everygram.add(folder / "index", folder / "b.jsonl")
    everygram.delete(folder / "index", documents=[3, 25])
    return folder / "index"


def serving(*options):
    command = [sys.executable, "-c", RUN, "serve", *map(str, options), "--port", "0"]
    return subprocess.Popen(
        [*command, "--follow-seconds", "0.2"], stderr=subprocess.PIPE, text=True
    )


def address(process):
    """Where a service says that it is."""
    for line in process.stderr:
        if "the page is at" in line:
            return line.split("the page is at ")[1].split("/;")[0].split("/,")[0]
    raise AssertionError("it has ended")


def asked(url, operation, body):
    headers = {"content-type": "application/json"}
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{url}/v1/indexes/index/{operation}", data, headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read())


def test_the_answers_of_a_service_here(cluster, index):
    over = serving(index, "--ray", cluster.address, "--actors", 2)
    here = serving(index)
    try:
        urls = address(over), address(here)
        for operation, body in ASKED.items():
            batch = {"batch": [body, body]}
            for each in (body, batch):
                far, near = (asked(url, operation, each) for url in urls)
                assert far == near, operation
        with pytest.raises(urllib.error.HTTPError) as raised:
            asked(urls[0], "count", {"query": "the", "skips": 2})
        assert raised.value.code == 422
        everygram.delete(index, documents=[0])
        end = time.monotonic() + 30
        while asked(urls[0], "count", ASKED["count"])["count"] != 27:
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        for process in (over, here):
            process.send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=60)[1] for process in (over, here)]
    assert (over.returncode, here.returncode) == (0, 0), said
    assert "Traceback" not in said[0], said[0]


def test_what_does_not_go_over_ray(index):
    for options, says in (
        (["--ray", "127.0.0.1:1"], "no cluster answers at '127.0.0.1:1'"),
        (["--ray", "auto", f"other={index}", "--union", "all"], "unions: not with ray"),
    ):
        process = serving(index, *options)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 2 and says in said, said
