"""The command that draws texts from a language model: sample."""

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from everygram.cli import compiling
from everygram.cli.answering import lines_of_stdin, opened, reads
from everygram.cli.models import model_of, model_options
from everygram.cli.options import (
    batch_option,
    examples,
    given,
    ids_option,
    index_argument,
    json_option,
    parse_ids,
    raw_option,
)
from everygram.cli.show import counted
from everygram.errors import EverygramError

if TYPE_CHECKING:
    import numpy as np

    from everygram.encoding import Query
    from everygram.index import Index
    from everygram.results.samples import Sample


@click.command(
    epilog=examples(
        'everygram sample my-index "Once upon a time" --seed 1',
        "everygram sample my-index --document-start --samples 5 --max-context 8",
        'everygram sample my-index "The capital of" --greedy --max-tokens 20 --order 5',
        'everygram sample my-index "It was" --temperature 0.8 --top-k 50 --top-p 0.95 --json',
        "everygram sample my-index - --seed 1 < prompts.txt > samples.jsonl",
    )
)
@index_argument
@click.argument(
    "prompt",
    required=False,
    help="Text to continue (default: none), or - to read one prompt per line from standard input "
    "and print JSON lines.",
)
@ids_option
@batch_option
@click.option(
    "--document-start",
    is_flag=True,
    help="The prompt begins a document, and is encoded as documents are.",
)
@model_options
@click.option(
    "--samples",
    type=click.IntRange(1),
    metavar="N",
    default=1,
    help="Draw N texts for each prompt.",
)
@click.option(
    "--max-tokens",
    type=click.IntRange(0),
    metavar="N",
    default=100,
    help="Stop after N tokens, if the document does not end before.",
)
@click.option(
    "--temperature",
    type=float,
    metavar="T",
    default=1.0,
    help="Raise probabilities to 1/T: below 1 likely tokens become more likely; 0 takes the most "
    "likely.",
)
@click.option("--greedy", is_flag=True, help="Take the most likely token, as --temperature 0 does.")
@click.option(
    "--top-k", type=click.IntRange(1), metavar="K", help="Draw from the K most likely tokens alone."
)
@click.option(
    "--top-p",
    type=float,
    metavar="P",
    help="Draw from the fewest most likely tokens that have P of the probability.",
)
@click.option(
    "--max-context",
    type=click.IntRange(0),
    metavar="N",
    help="Let the model see the last N tokens alone: without a bound, and without an order, it "
    "soon copies a document.",
)
@click.option(
    "--seed",
    type=int,
    metavar="N",
    help="The same seed draws the same texts from the same index (default: others each time).",
)
@raw_option
@json_option
def sample(
    index: Path,
    prompt: str | None,
    ids: str | None,
    text_field: str | None,
    document_start: bool,
    smoothing: str,
    order: int | None,
    weights: str | None,
    samples: int,
    greedy: bool,
    raw: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Draw texts from a language model.

    It prints what follows the prompt. A text ends where the model ends the document.
    """
    if prompt is not None and ids is not None:
        raise click.UsageError("expected a prompt or --ids, found both; give one of the two")
    if text_field is not None and prompt != "-":
        raise click.UsageError("--text-field goes with - in place of a prompt: it reads records")
    if greedy and given("temperature"):
        raise click.UsageError("--greedy is --temperature 0: give one of the two")
    if document_start and raw:
        raise click.UsageError("--raw does not go with --document-start, which has no prefix")
    if greedy:
        options["temperature"] = 0.0
    with opened(index) as asked, compiling.announced():
        model = model_of(asked, smoothing, order, weights)
        encode = partial(_encoded, asked, document_start, raw)
        many = "-" in (prompt, ids)
        if many:
            prompts = list(_prompts(encode, ids is not None, text_field))
        else:
            prompts = [encode(parse_ids(ids) if prompt is None else prompt)]
        good = [each for each in prompts if not isinstance(each, EverygramError)]
        drawn = iter(model.sample_batch([each for each in good for _ in range(samples)], **options))
    for each in prompts:
        if isinstance(each, EverygramError):
            click.echo(json.dumps({"error": str(each)}, ensure_ascii=False))
            continue
        for number, one in enumerate(islice(drawn, samples), 1):
            if many or as_json:
                click.echo(json.dumps(one.as_dict(), ensure_ascii=False))
            else:
                click.echo(_shown(one, number, samples))
    sys.exit(0 if len(good) == len(prompts) else 1)


def _prompts(
    encode: Callable[["Query"], "np.ndarray"], are_ids: bool, text_field: str | None
) -> Iterator["np.ndarray | EverygramError"]:
    """The prompt in each line of standard input, or what is wrong with it."""
    read = reads(are_ids, text_field)
    for lines in lines_of_stdin(sys.maxsize, skip_blank=text_field is not None):
        for number, line in lines:
            place = f"line {number}"
            try:
                yield encode(read(line, place))
            except EverygramError as error:
                said = str(error)
                named = said if said.startswith(f"{place}:") else f"{place}: {said}"
                yield EverygramError(named)


def _encoded(index: "Index", document_start: bool, raw: bool, prompt: "Query") -> "np.ndarray":
    """The ids of a prompt."""
    import numpy as np

    if not document_start:
        return index.encode(prompt, raw=raw)
    ids = index.encode(prompt)
    if isinstance(prompt, str) and index.tokenizer is not None:
        ids = index.tokenizer.encode_batch([prompt])[0].astype(np.int64)
    return np.concatenate([[index.separator], ids])


def _shown(one: "Sample", number: int, samples: int) -> str:
    """A text, or ids, under a line that says which it is of several."""
    text = " ".join(map(str, one.token_ids)) if one.text is None else one.text
    if samples == 1:
        return text
    ended = "end of document" if one.finished == "document_end" else "cut"
    return f"--- {number} of {samples}: {counted(len(one), 'token')}, {ended}\n{text}"
