"""What a service has of its indexes, and the moment at which a change is seen."""

import everygram
from conftest import write_jsonl
from everygram.server import indexes as served
from everygram.server.indexes import Indexes
from everygram.server.settings import Settings


def test_a_change_and_the_name_of_the_state_are_seen_at_once(tmp_path, monkeypatch):
    """Runners are told the state's name, a worker asks the index itself: neither goes first."""
    corpus = write_jsonl(tmp_path / "a.jsonl", [{"text": "ab"}])
    everygram.build(corpus, tmp_path / "a", "bytes")
    made = Indexes(Settings(indexes={"a": tmp_path / "a"}, unions={"u": {"of": ["a"]}}))
    before = made.stamp, made.get("a").version, made.get("u").version
    everygram.add(tmp_path / "a", corpus)
    during, real = [], served._stamped

    def stamped(now):
        during.append((made.stamp, made.get("a").version, made.get("u").version))
        return real(now)

    monkeypatch.setattr(served, "_stamped", stamped)
    assert made.look()
    assert during == [before]
    after = made.stamp, made.get("a").version, made.get("u").version
    assert all(new != old for new, old in zip(after, before, strict=True))
    assert made.get("a").count("ab") == made.get("u").count("ab") == 2
    assert not made.look() and made.stamp == after[0]
