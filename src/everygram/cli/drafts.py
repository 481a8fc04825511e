"""The command that replays recorded streams of tokens with drafts: analyse drafts."""

import gc
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everygram.cli.answering import opened
from everygram.cli.options import (
    PATH,
    completes,
    examples,
    index_argument,
    json_option,
    together,
)
from everygram.cli.reading import without_build
from everygram.cli.show import counted
from everygram.cli.show_indexing import build_progress
from everygram.cli.writing import check_place, write_whole
from everygram.errors import CorpusError

if TYPE_CHECKING:
    from everygram.analysis.drafts import Stream
    from everygram.progress import Clock

draft_options = together(
    click.option(
        "--max-tokens",
        type=click.IntRange(1, 1_024),
        metavar="N",
        default=8,
        help="Most tokens of a draft.",
    ),
    click.option(
        "--min-token-prob",
        type=click.FloatRange(0, 1),
        metavar="P",
        default=0.1,
        help="A draft ends before a token with which fewer of the suffix's occurrences go on like "
        "the draft than this share.",
    ),
    click.option(
        "--max-suffix",
        type=click.IntRange(1),
        metavar="N",
        default=64,
        help="Look for suffixes of the context of up to N tokens.",
    ),
    click.option(
        "--max-factor",
        type=click.FloatRange(0),
        metavar="X",
        default=1.0,
        help="A draft has at most X times as many tokens as the suffix; inf for no such limit.",
    ),
    click.option(
        "--lookback",
        type=click.IntRange(0),
        metavar="N",
        default=0,
        help="Also look for the suffix in the last N tokens of the context itself.",
    ),
)


@click.command(
    epilog=examples(
        "everygram analyse drafts my-index streams.jsonl",
        "everygram analyse drafts my-index streams.jsonl --lookback 1024 --json",
        "everygram analyse drafts my-index streams.jsonl.zst --max-tokens 16 --csv steps.csv",
    )
)
@index_argument
@click.argument(
    "streams",
    shell_complete=completes("file"),
    help="A file of records, such as JSON lines: each has token_ids, and prompt_ids if there was a "
    "prompt; or text and prompt.",
)
@draft_options
@click.option(
    "--csv", type=PATH, metavar="FILE.csv", help="Also write a table with a line for each step."
)
@json_option
def drafts(index: Path, streams: str, csv: Path | None, as_json: bool, **options: Any) -> None:
    """Replay recorded streams of tokens with drafts of an index.

    What a model generated is gone through as a server with speculative decoding would have
    generated it: each step is one forward pass, which accepts the draft up to its first wrong token
    and gives one token more. No model is needed. Shows how many forward passes are saved, how many
    drafted tokens are accepted, and how long drafts take.
    """
    if csv is not None:
        check_place("--csv", csv, (".csv",), ".csv")
    gc.enable()
    from everygram.analysis.drafts import read_streams, replay_drafts
    from everygram.progress import Clock

    try:
        with opened(index) as asked, build_progress() as progress:
            # (The first draft waits for the compiler, and is not to be timed.)
            asked.draft([asked.separator], **options)
            read = list(read_streams(streams, asked))
            if not read:
                raise CorpusError(f"{streams}: expected streams of tokens, found none")
            clock = Clock(progress)
            clock.enter("replay")
            found = replay_drafts(asked, _told(read, clock), **options)
    except CorpusError as error:
        raise CorpusError(without_build(str(error))) from None
    if csv is not None:
        write_whole(csv, found.csv().encode())
    answer = found.as_dict()
    click.echo(json.dumps(answer) if as_json else show_replay(answer))


def _told(streams: list["Stream"], clock: "Clock") -> Iterator["Stream"]:
    """The streams, one after the other, with reports of how far they are gone through."""
    total, done = sum(len(stream.tokens) for stream in streams), 0
    for stream in streams:
        yield stream
        done += len(stream.tokens)
        clock.report(done, total)


def show_replay(answer: dict[str, Any]) -> str:
    """The sums and means of a replay, one fact per line."""
    streams, tokens = (counted(answer[f"num_{what}s"], what) for what in ("stream", "token"))
    if not answer["num_steps"]:
        return f"{streams}, {tokens}: nothing to replay"
    rate = answer["acceptance_rate"]
    rows = [
        ("forward passes", f"{answer['num_steps']:,}, {answer['saved_share']:.1%} saved"),
        ("tokens per pass", f"{answer['tokens_per_step']:.2f}"),
        ("drafted per pass", f"{answer['drafted_per_step']:.2f}"),
        (
            "accepted per pass",
            f"{answer['accepted_per_step']:.2f}"
            + ("" if rate is None else f", {rate:.1%} of these"),
        ),
        ("expected per pass", f"{answer['mean_score']:.2f}"),
        ("length of the suffix", f"{answer['mean_suffix_len']:.2f} tokens on average"),
        (
            "time of a draft",
            f"{answer['median_microseconds']:.1f} µs (median), "
            f"{answer['p99_microseconds']:.1f} µs (p99)",
        ),
    ]
    return "\n".join([f"{streams}, {tokens}", *(f"  {name:<24}{value}" for name, value in rows)])
