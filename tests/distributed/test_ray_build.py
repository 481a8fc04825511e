"""Builds on a Ray cluster of several nodes, all on this machine: whatever dies, the same index."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

import everygram
import stores
from campaign import sized
from everygram import BuildError, OptionError, distributed
from everygram.storage.verify import verify

MEMORY = 400 << 20


@pytest.fixture
def corpus(tmp_path):
    """A folder with large files and small ones."""
    rng = random.Random(7)
    folder = tmp_path / "corpus"
    folder.mkdir()
    for name, number in (("a", 300), ("b", 1), ("c", 40)):
        with (folder / f"{name}.jsonl").open("w") as file:
            for place in range(number):
                words = rng.choices(
                    ["the", "cat", "sat", "on", "a", "mat", "é"], k=rng.randrange(60)
                )
                file.write(json.dumps({"text": " ".join(words), "place": place}) + "\n")
    return folder


def content(folder):
    """All files but those that have times in them."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("manifest.json", ".everygram.lock")
    }


def built(cluster, corpus, out, **given):
    return distributed.build(corpus, out, ray=cluster.address, threads=1, memory=MEMORY, **given)


@pytest.mark.parametrize("kind", ["suffix-array", "self-index"])
def test_the_bytes_of_a_build_here(connected, tmp_path, corpus, kind):
    told = []
    given = {"parts": 5, "kind": kind, "tokenizer": "train:300"}
    report = built(connected, corpus, tmp_path / "index", progress=told.append, **given)
    expected = everygram.build(corpus, tmp_path / "local", threads=1, **given)
    assert content(tmp_path / "index") == content(tmp_path / "local")
    assert (report.num_documents, report.num_tokens) == (341, expected.num_tokens)
    assert {each.stage for each in told} >= {"train", "parts", "publish"}
    last = [each for each in told if each.stage == "parts"][-1]
    assert (last.done, last.total, last.tokens) == (5, 5, expected.num_tokens)
    assert verify(tmp_path / "index", lambda *_: None) == []
    # A rerun right after the end has nothing to do.
    with pytest.raises(BuildError, match="already holds an index"):
        built(connected, corpus, tmp_path / "index", **given)


def test_as_many_parts_as_the_cluster_runs_at_once(connected, tmp_path, corpus):
    built(connected, corpus, tmp_path / "index")
    with everygram.open(tmp_path / "index") as index:
        assert len(index.manifest.segments) == 2


def test_what_no_machine_can_run(connected, tmp_path, corpus):
    with pytest.raises(OptionError, match="expected a machine with 64 processors and"):
        distributed.build(corpus, tmp_path / "index", ray=connected.address, threads=64)
    with pytest.raises(OptionError, match="expected a machine with 1 processors and 9,8"):
        distributed.build(
            corpus, tmp_path / "index", ray=connected.address, threads=1, memory=9876543210
        )
    assert not (tmp_path / "index").exists()


def test_a_part_that_always_fails_is_named(connected, tmp_path, corpus):
    """With its error; the others are kept."""
    lines = (corpus / "a.jsonl").read_text().splitlines()
    lines[-1] = "no JSON"
    (corpus / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(
        BuildError, match=r"part \d .*failed 3 times, the last time: .*a.jsonl.*JSON"
    ):
        built(connected, corpus, tmp_path / "index", parts=4)
    done = list((tmp_path / "index").glob("part-*/report.json"))
    assert 1 <= len(done) < 4
    lines[-1] = lines[0]
    (corpus / "a.jsonl").write_text("\n".join(lines))
    with pytest.raises(BuildError, match="with other inputs"):
        built(connected, corpus, tmp_path / "index", parts=4)
    built(connected, corpus, tmp_path / "index", parts=4, restart=True)


DRIVER = """
import sys
from everygram import distributed
distributed.build(
    sys.argv[1], sys.argv[2], ray=sys.argv[3], parts=6, threads=1, memory=int(sys.argv[4])
)
"""


@pytest.mark.parametrize("round", range(sized(1, 30)))
def test_nodes_and_the_driver_are_killed(cluster, tmp_path, corpus, round):
    """At random; what is built then is what an undisturbed build makes."""
    rng = random.Random(round)
    out = tmp_path / "index"
    everygram.build(corpus, tmp_path / "local", parts=6, threads=1)
    command = [sys.executable, "-c", DRIVER, str(corpus), str(out), cluster.address, str(MEMORY)]
    for attempt in range(10):
        with subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True) as driver:
            if attempt < 2:
                # From before it is connected to after its end.
                time.sleep(rng.uniform(1, 8))
                if rng.random() < 0.5:
                    os.killpg(driver.pid, signal.SIGKILL)
                else:
                    worker = next(node for node in cluster.list_all_nodes() if not node.head)
                    cluster.remove_node(worker, allow_graceful=False)
                    cluster.add()
            _, said = driver.communicate(timeout=120)
        if driver.returncode == 0 or (out / "manifest.json").exists():
            break
        assert driver.returncode in (-signal.SIGKILL, 1), said.decode()
    assert (out / "manifest.json").exists(), said.decode()
    if list(out.glob("part-*")):  # (Killed after it was published.)
        built(cluster, corpus, out, parts=6)
    assert content(out) == content(tmp_path / "local")
    assert verify(out, lambda *_: None) == []


def test_the_command_line(cluster, tmp_path, corpus):
    run = "from everygram.cli.app import run; run()"
    command = [sys.executable, "-c", run, "build", str(corpus), "--parts", "3"]
    command += ["--out", str(tmp_path / "index"), "--ray", cluster.address, "--threads", "1"]
    plan = subprocess.run(
        [*command, "--memory", "400MiB", "--dry-run", "--json"],
        capture_output=True,
        check=True,
        timeout=100,
    )
    assert len(json.loads(plan.stdout)["parts"]) == 3
    assert not (tmp_path / "index").exists()
    done = subprocess.run(
        [*command, "--memory", "400MiB"], capture_output=True, check=True, timeout=100
    )
    assert b"parts           3, of" in done.stderr and b"continuing" not in done.stderr
    assert b"building parts" in done.stderr and b"341" in done.stdout


def test_no_cluster_there(tmp_path, corpus):
    with pytest.raises(OptionError, match=r"no cluster answers at '127\.0\.0\.1:1'"):
        distributed.build(corpus, tmp_path / "index", ray="127.0.0.1:1")


def test_an_index_in_a_store(connected, tmp_path, corpus, monkeypatch):
    """Parts that are noted there are kept; the files are those of a build here."""
    address = f"file://{tmp_path / 'there'}"
    lines = (corpus / "c.jsonl").read_text()
    (corpus / "c.jsonl").write_text(lines + "no JSON\n")
    with pytest.raises(BuildError, match=r"part 4 failed 3 times, .*c.jsonl.*JSON"):
        built(connected, corpus, address, parts=4)
    notes = list((tmp_path / "there").glob("part-*.json"))
    assert notes and not (tmp_path / "there" / "manifest.json").exists()
    # Of another corpus, or with other options, it does not go on.
    (corpus / "c.jsonl").write_text(lines)
    with pytest.raises(BuildError, match="interrupted build of another corpus or with other"):
        built(connected, corpus, address)
    report = built(connected, corpus, address, parts=4, restart=True)
    assert (report.path, report.num_documents) == (address, 341)
    everygram.build(corpus, tmp_path / "local", parts=4, threads=1)
    assert content(tmp_path / "there") == content(tmp_path / "local")
    assert verify(tmp_path / "there", lambda *_: None) == []
    with pytest.raises(BuildError, match="already holds an index"):
        built(connected, corpus, address)
    # What is somebody else's stays, whatever it is called.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "part-000001.json").write_text("{}")
    with pytest.raises(BuildError, match=r"is not empty: it holds 'part-000001.json'"):
        built(connected, corpus, f"file://{tmp_path / 'other'}", restart=True)
    assert (tmp_path / "other" / "part-000001.json").exists()


def test_two_builds_at_one_address(connected, tmp_path, corpus):
    """The later one has it; the earlier ends in an error, and publishes nothing."""
    there = tmp_path / "there"
    claim = there / "build.json"

    def another(progress):
        if progress.stage == "parts" and claim.exists():
            claim.write_text('{"build": "another", "parts": 2}')

    with pytest.raises(BuildError, match="holds an interrupted build of another corpus"):
        built(connected, corpus, f"file://{there}", parts=3, progress=another)
    assert not (there / "manifest.json").exists()
    # A note that is cut off is none.
    (there / "part-000001.json").write_text('{"build": "')
    built(connected, corpus, f"file://{there}", parts=3, restart=True)
    assert {path.name for path in there.iterdir()} == {
        "manifest.json",
        "segment-000001",
        "segment-000002",
        "segment-000003",
    }


def test_a_driver_is_killed_that_builds_in_a_store(cluster, tmp_path, corpus):
    """Whoever runs it again finds the parts that are there, however many there are to be."""
    there = tmp_path / "there"
    command = [sys.executable, "-c", DRIVER, str(corpus), f"file://{there}", cluster.address]
    with subprocess.Popen([*command, str(MEMORY)], start_new_session=True) as driver:
        while not list(there.glob("part-*.json")) and driver.poll() is None:
            time.sleep(0.02)
        os.killpg(driver.pid, signal.SIGKILL)
    kept = {path: path.stat().st_mtime_ns for path in there.glob("part-*.json")}
    assert kept and not (there / "manifest.json").exists()
    seen = []

    def look(progress):
        seen.append({path: path.stat().st_mtime_ns for path in kept if path.exists()})

    built(cluster, corpus, f"file://{there}", progress=look)
    assert kept in seen
    everygram.build(corpus, tmp_path / "local", parts=6, threads=1)
    assert content(there) == content(tmp_path / "local")


def test_a_cluster_of_its_own(tmp_path):
    """It ends with the build, here of an index on S3."""
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a cat"}\n' * 9)
    with stores.serving() as bucket:
        run = "from everygram.cli.app import run; run()"
        command = [sys.executable, "-c", run, "build", str(path), "--out", f"{bucket}/index"]
        done = subprocess.run(
            [*command, "--ray", "--parts", "2", "--threads", "1"],
            capture_output=True,
            text=True,
            timeout=100,
        )
        assert done.returncode == 0, done.stderr
        assert f"ask it: everygram count {bucket}/index" in done.stdout
        everygram.pull(f"{bucket}/index", tmp_path / "index")
    with everygram.open(tmp_path / "index") as index:
        assert index.count("a cat").count == 9


def test_a_store_without_a_cluster(tmp_path, corpus):
    with pytest.raises(OptionError, match=r"expected a folder, found 's3://b/i': .*everygram push"):
        everygram.build(corpus, "s3://b/i")
