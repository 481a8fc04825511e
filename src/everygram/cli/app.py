"""The command line's entry: the table of commands, how errors end it, and exit codes.

Each command is imported when it is called, with what it needs: `everygram --help` reads the table
alone. Knows nothing of what the commands do. Exit codes: 0 done; 1 failed (a damaged index, a bad
corpus, a failed query among many); 2 usage error; 130 interrupted.
"""

import contextlib
import gc
import io
import os
import re
import sys
from typing import Any

import click

from everygram.cli.commands import Commands
from everygram.cli.options import REMOTE_URL, examples
from everygram.errors import EverygramError, OptionError, QueryError

# Command name -> (module of this package and function in it, help line), in the order of `--help`.
COMMANDS = {
    "build": ("indexing:build", "Index a corpus."),
    "convert": (
        "indexing:convert",
        "Make an index of another kind, or of index folders of infini-gram's.",
    ),
    "attach": ("attaching:attach", "Make an infini-gram index fast to ask, where it is."),
    "add": ("indexing:add", "Add documents to an index."),
    "delete": ("changing:delete", "Delete documents from an index."),
    "compact": ("changing:compact", "Merge segments and drop deleted documents."),
    "upgrade": ("changing:upgrade", "Bring an index to the current format."),
    "prepare": ("changing:prepare", "Prepare an index for modified Kneser-Ney smoothing."),
    "export": ("changing:export", "Write the documents of an index as JSON lines."),
    "push": ("transferring:push", "Copy an index to an object store."),
    "pull": ("transferring:pull", "Copy an index from an object store."),
    "info": ("inspecting:info", "Show an index's counts, dtype, tokenizer and versions."),
    "verify": ("inspecting:verify", "Check an index for damage."),
    "count": ("ngrams:count", "Count the occurrences of an n-gram, or of a text."),
    "prob": ("ngrams:prob", "Compute the n-gram probability of a token after a prompt."),
    "ntd": ("ngrams:ntd", "Compute the next-token distribution after a prompt."),
    "infgram-prob": (
        "ngrams:infgram_prob",
        "Compute the ∞-gram probability of a token after a prompt.",
    ),
    "infgram-ntd": (
        "ngrams:infgram_ntd",
        "Compute the ∞-gram next-token distribution after a prompt.",
    ),
    "score": ("texts:score", "Compute the probability of every token of a text."),
    "longest-matches": (
        "texts:longest_matches",
        "Find the longest match in the corpus at every token of a text.",
    ),
    "attribute": (
        "attribution:attribute",
        "Trace a text to the documents that its words come from.",
    ),
    "novelty": ("novelty:novelty", "Show how much of each file of texts is new to an index."),
    "contamination": (
        "contamination:contamination",
        "Find which items of benchmarks a corpus has, and how much of each.",
    ),
    "duplicates": ("duplicates:duplicates", "Find what repeats word for word in an index."),
    "deduplicate": (
        "duplicates:deduplicate",
        "Write the documents of an index without what repeats.",
    ),
    "top-ngrams": ("frequent:top_ngrams", "List the most frequent n-grams of an index."),
    "frequency": (
        "frequency:frequency",
        "Count concepts, alone, in pairs, and beside scores of an evaluation.",
    ),
    "stats": (
        "statistics:stats",
        "Show what an index holds: documents, lengths, vocabulary, copies.",
    ),
    "perplexity": (
        "perplexity:perplexity",
        "Show how well a language model predicts a corpus.",
    ),
    "sample": ("sampling:sample", "Draw texts from a language model."),
    "interpolate": (
        "interpolation:interpolate",
        "Mix a neural model with the index's ∞-gram, and measure it.",
    ),
    "analyse": ("analysis:analyse", "Analyse texts and models with an index."),
    "lm-eval": ("lm_eval:lm_eval", "Run lm-evaluation-harness with an index as a model."),
    "find": ("documents:find", "List where an n-gram, or a text, occurs."),
    "document": ("documents:document", "Show a document, or the part around an occurrence."),
    "search": ("search:search", "Search for documents by words, phrases, AND, OR, NOT and NEAR."),
    "serve": ("serving:serve", "Serve indexes over HTTP."),
    "keys": ("keys:keys", "Keep the API keys of a service."),
    "warmup": ("inspecting:warmup", "Compile everything now, so that no later command waits."),
}

# Commands that ask an index, and so may ask one of a service; the others need its files.
REMOTE = (
    "info",
    "count",
    "prob",
    "ntd",
    "infgram-prob",
    "infgram-ntd",
    "score",
    "longest-matches",
    "attribute",
    "novelty",
    "perplexity",
    "sample",
    "find",
    "document",
    "search",
)


def run() -> None:
    """`main` as a program of its own, which starts and ends as quickly as it can.

    Most of the time of one query from a shell is Python's own. Two parts of it are avoidable: the
    garbage collector's passes over what imports create, and freeing memory piece by piece at exit.
    """
    gc.disable()
    code: Any = 0
    try:
        main(alone=True)
    except SystemExit as end:
        code = end.code
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # the reader has left
            stream.flush()
    os._exit(code if isinstance(code, int) else int(bool(code)))


def main(alone: bool = False) -> None:
    """Run the command line; an error is one message on standard error.

    alone: this process was started for the command line and ends with it.
    """
    # A character that the terminal cannot show, or bytes on standard input that are not text, must
    # not end in a traceback: the first is escaped, the second is refused as a query.
    if sys.stdin is None:  # closed by who started the program: nothing to read
        sys.stdin = io.TextIOWrapper(io.BytesIO(), "utf-8")
    shown = "backslashreplace"
    for stream, errors in (
        (sys.stdout, shown),
        (sys.stderr, shown),
        (sys.stdin, "surrogateescape"),
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
    try:
        app(prog_name="everygram", obj=alone)
    except EverygramError as error:
        click.echo(f"error: {_with_flags(str(error))}", err=True)
        sys.exit(2 if isinstance(error, (QueryError, OptionError)) else 1)
    except OSError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


# Keywords of functions that are no words of English, and others where a message begins with them.
KEYWORDS = re.compile(
    r"(?<![\w'\"`./=-])(text_field|id_field|metadata_fields|on_error|pretokenized|separator_id|"
    r"max_record|vocab_size|sample_every|document_counts|max_n|min_count|max_support|"
    r"max_clause_freq|missing_ok|dry_run|work_dir|min_share|min_coverage|min_length|max_documents)"
    r"(?![\w'\"`./=-])"
    r"|^(split|quoting|memory|threads|where|fields|preset|matching|documents|union|tune|test|steps|"
    r"weights|kind|n|top|by|across|normalize)"
    r"(?=: | goes )"
)


def _with_flags(message: str) -> str:
    """A message of the library with the flags of the command line for keywords of functions."""
    return KEYWORDS.sub(lambda found: "--" + found[0].replace("_", "-"), message)


class Program(Commands):
    """The commands of the table, and how they end early."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command. (click would report both of these endings as errors.)"""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            sys.exit(130)  # 128 + SIGINT, as in shells
        except BrokenPipeError:  # the reader of our output left: nobody to tell
            sys.stdout = None
            sys.exit(0)


@click.group(
    cls=Program,
    table=COMMANDS,
    context_settings={"show_default": True, "max_content_width": 100},
    epilog=examples(
        "everygram build corpus.jsonl --out my-index --tokenizer gpt2/tokenizer.json",
        'everygram count my-index "natural language processing"',
        "everygram count --help",
    )
    + "\n\nExit codes: 0 done, 1 failed, 2 usage error, 130 interrupted.",
)
@click.version_option(
    package_name="everygram", message="everygram %(version)s", help="Show the version and exit."
)
@click.option(
    "--remote",
    metavar="URL",
    help="Ask an index of the service at this address, by its name there in place of its folder. "
    "The API key, if it wants one, is read from the environment: EVERYGRAM_KEY.",
)
@click.pass_context
def app(ctx: click.Context, remote: str | None) -> None:
    """Exact n-gram and ∞-gram queries over a tokenized corpus."""
    if remote is None:
        return
    if ctx.invoked_subcommand not in REMOTE:
        raise click.UsageError(
            f"--remote: '{ctx.invoked_subcommand}' needs the files of an index and cannot ask a "
            f"service; these can: {', '.join(REMOTE)}"
        )
    ctx.meta[REMOTE_URL] = remote
