"""What users name as a corpus: options in one place, files listed once."""

import dataclasses
import typing

import numpy as np
import pytest

import everygram
from conftest import write_jsonl
from everygram.building import source as building_source
from everygram.building.indexer import build_of
from everygram.building.plan import plan_of
from everygram.building.source import open_source
from everygram.corpus import source
from everygram.corpus.documents import Corpus
from everygram.corpus.source import CorpusKeywords, CorpusOptions, NamedCorpus
from everygram.errors import CorpusError, OptionError


def test_keywords_are_the_fields_of_the_options():
    assert typing.get_type_hints(CorpusKeywords) == typing.get_type_hints(CorpusOptions)
    assert all(
        field.default is not dataclasses.MISSING for field in dataclasses.fields(CorpusOptions)
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_error": "pass"}, "on_error: expected 'raise' or 'skip', found 'pass'"),
        ({"metadata_fields": "url"}, "metadata_fields: expected a list of fields, found 'url'"),
        ({"separator_id": 0}, "separator_id goes with pretokenized"),
        ({"pretokenized": "u4", "separator_id": 0}, "pretokenized: expected u8, u16 or u32"),
        ({"pretokenized": "u8", "separator_id": 256}, "separator_id: expected 0 to 255 for u8"),
        ({"pretokenized": "u8", "id_field": "url"}, "go with text, not token ids"),
        ({"pretokenized": "u8", "metadata_fields": []}, "go with text, not token ids"),
    ],
)
def test_options_are_refused_alike_by_all_that_take_them(tmp_path, options, message):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "a"}])
    index = tmp_path / "index"
    everygram.build(corpus, index)
    for call in (
        lambda: everygram.plan(corpus, tmp_path / "new", **options),
        lambda: everygram.build(corpus, tmp_path / "new", **options),
        lambda: everygram.add(index, corpus, **options),
    ):
        with pytest.raises(OptionError, match=message):
            call()
    assert not (tmp_path / "new").exists()


def test_an_option_that_there_is_not(tmp_path):
    corpus = write_jsonl(tmp_path / "c.jsonl", [{"text": "a"}])
    for call in (everygram.build, everygram.plan):
        with pytest.raises(TypeError, match=r"^got an unexpected .* 'text_feild'; .* text_field, "):
            call(corpus, tmp_path / "new", text_feild="text")


def test_texts_in_a_list_are_said_to_be_names(tmp_path):
    said = r"names of files; for texts pass iter\(\[...\]\)"
    for texts in (["hello", "world"], ["what is this?"], ["a", "a text\nof two lines"]):
        with pytest.raises((CorpusError, OptionError), match=r"pass (texts as )?iter\("):
            everygram.build(texts, tmp_path / "new")
    with pytest.raises(CorpusError, match=r"^hello: no such file or directory \(.*" + said):
        everygram.build(["hello", "world"], tmp_path / "new")
    # Who names one file, or an address, means it.
    for name in ("hello", ("hello",)):
        with pytest.raises(CorpusError, match=r"hello: no such file or directory$"):
            everygram.build(name, tmp_path / "new")


def test_no_corpus():
    with pytest.raises(CorpusError, match="no corpus given"):
        NamedCorpus([], CorpusOptions())


def test_both_kinds_are_a_corpus(tmp_path):
    write_jsonl(tmp_path / "c.jsonl", [{"text": "a"}])
    np.array([1, 9, 2], "<u2").tofile(tmp_path / "ids.bin")
    text = NamedCorpus(tmp_path / "c.jsonl", CorpusOptions())
    ids = NamedCorpus([tmp_path / "ids.bin"], CorpusOptions(pretokenized="u16", separator_id=9))
    assert (text.are_ids, ids.are_ids) == (False, True)
    for corpus, size in ((text.text(), 14), (ids.ids(), 6)):
        assert isinstance(corpus, Corpus)
        assert [file.size for file in corpus.files] == [size]
        assert sum(corpus.formats.values()) == 1
        assert list(corpus)
        assert corpus.bytes_read == corpus.total_bytes == size
        assert (corpus.skipped, corpus.skips) == (0, [])


def test_files_are_listed_once_and_the_tokenizer_is_loaded_once(tmp_path, monkeypatch):
    folder = tmp_path / "corpus"
    folder.mkdir()
    write_jsonl(folder / "c.jsonl", [{"text": "a b a b"}])
    calls = []

    def counted(function):
        def call(*arguments):
            calls.append(function.__name__)
            return function(*arguments)

        return call

    monkeypatch.setattr(source, "list_files", counted(source.list_files))
    monkeypatch.setattr(building_source, "load_tokenizer", counted(building_source.load_tokenizer))
    opened = open_source(folder, "bytes", metadata_fields=[])
    understood = plan_of(opened, tmp_path / "index")
    report = build_of(opened, tmp_path / "index")
    assert sorted(calls) == ["list_files", "load_tokenizer"]
    assert understood.tokens == report.num_tokens == 7
