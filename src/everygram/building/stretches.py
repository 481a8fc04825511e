"""Merges the blocks of a stream in stretches: each by itself, anywhere and in any order.

All is in files of the segment's folder, which those who merge share: tokens and runs, the plan (at
which suffixes stretches start), the suffix array, which each stretch is written into at its place,
and a note of each stretch that is merged. Notes stay if anybody is killed: another run merges what
is missing. Knows what a stretch is; does not know where stretches are merged.
"""

import os
import shutil
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from everygram.building.merging import STRETCHES, Merge, diagonals_bytes
from everygram.durable import sync, sync_directory
from everygram.errors import BuildError, DamagedIndexError
from everygram.storage import format as fmt
from everygram.storage.build_state import Block, block_of, read_checked, write_checked
from everygram.storage.disk import (
    map_file,
    map_tokens,
    opened_to_write,
    position_entries,
    write_at,
)
from everygram.storage.fields import Fields

PLAN = "plan.json"
# Tokens of a stretch: fewer take less time than it takes to begin, and of more there is more to do
# again (half a minute). Positions that are merged and written at a time.
FEWEST, MOST = 1 << 20, 1 << 28
STEP = 1 << 18


@dataclass(frozen=True)
class Stretch:
    """What merging one stretch needs to know, wherever that is.

    number: from 1 on. folder: of the segment. plan: its id. memory: bytes. threads: processors.
    """

    number: int
    folder: Path
    plan: str
    memory: int
    threads: int = 1


# Merges stretches: calls the function with the number of one and how many tokens of it are merged;
# gives, for each that is merged, its number and which ranks [first, end) it has.
Run = Callable[
    [Sequence[Stretch], Callable[[int, int], None]], Iterator[tuple[int, tuple[int, int]]]
]


@dataclass(frozen=True)
class Workers:
    """Who merges stretches: so many at the same time, each with so much memory (bytes)."""

    number: int
    memory: int
    run: Run


@dataclass(frozen=True)
class Plan:
    """What is merged, and at which suffixes it is cut: positions of the stream, in their order."""

    id: str
    dtype: str
    stream_len: int
    blocks: list[Block]
    splitters: list[int]

    def merge(self, folder: Path) -> Merge:
        """The runs of a segment's folder."""
        tokens = map_tokens(folder, self.dtype, self.stream_len)
        return Merge(tokens, map_file(folder / fmt.RUNS, fmt.POSITION), self.blocks)


def merge_stretches(
    folder: Path,
    dtype: str,
    stream_len: int,
    blocks: list[Block],
    workers: Workers,
    progress: Callable[[int, int], None],
) -> None:
    """Write the unfinished suffix array of a segment, but those stretches of it that are merged.

    Calls `progress(tokens, tokens in all)`. Precondition: the blocks cover the stream.
    """
    folder = folder.absolute()
    size = stream_len * fmt.position_bytes(stream_len)
    plan = _read_plan(folder)
    # (Without the file that was written into, notes say nothing.)
    if (
        plan is None
        or (plan.dtype, plan.stream_len, plan.blocks) != (dtype, stream_len, blocks)
        or (folder / fmt.UNFINISHED).stat().st_size != size
    ):
        plan = _begin(folder, Plan(uuid.uuid4().hex, dtype, stream_len, blocks, []), size, workers)
    merged: dict[int, tuple[int, int]] = {}
    begun: dict[int, int] = {}
    for number in range(1, len(plan.splitters) + 2):
        if (ranks := _read_note(folder, plan, number)) is not None:
            merged[number] = ranks
        else:
            begun[number] = 0

    def tell(number: int, tokens: int) -> None:
        if number in begun:
            begun[number] = tokens
        done = sum(begun.values()) + sum(end - first for first, end in merged.values())
        progress(done, stream_len)

    missing = [Stretch(number, folder, plan.id, workers.memory) for number in begun]
    for number, ranks in workers.run(missing, tell):
        merged[number] = ranks
        del begun[number]
        tell(number, 0)
    bounds = [merged[number] for number in sorted(merged)]
    ends = [0, *(end for _, end in bounds)]
    if [first for first, _ in bounds] != ends[:-1] or ends[-1] != stream_len:
        shutil.rmtree(folder / fmt.STRETCHES)
        raise DamagedIndexError(
            f"'{folder}': the stretches that were merged are not the whole suffix array: the files "
            "that they are merged from have changed, or are not the same on all machines; run the "
            "same command again to merge all of them anew"
        )


def merge_stretch(job: Stretch, tell: Callable[[int], None]) -> tuple[int, int]:
    """Merge one stretch, and note it; returns which ranks [first, end) it has.

    Calls `tell(tokens)`. If it is merged twice, even at the same time, the same bytes are written.
    """
    # (Opened before the plan is read: if the folder is replaced by a new one afterwards, what is
    # written goes into the file that was there.)
    with opened_to_write(job.folder / fmt.UNFINISHED, create=False) as out:
        plan = _read_plan(job.folder)
        if plan is None or plan.id != job.plan:
            raise BuildError(
                f"'{job.folder}': merging was begun anew meanwhile, by another command; let one "
                "end before another begins"
            )
        merge = plan.merge(job.folder)
        width = fmt.position_bytes(plan.stream_len)
        ends = [None, *plan.splitters, None]
        first, last = merge.bounds(ends[job.number - 1], ends[job.number])
        start = at = merge.rank(first)
        table = diagonals_bytes(job.memory, 1, plan.stream_len)
        for positions in merge.stretch(first, last, table, STEP):
            write_at(out, position_entries(positions, width), at * width)
            at += positions.shape[0]
            tell(at - start)
        sync(out)
    note = {"plan": plan.id, "first": start, "end": at}
    write_checked(job.folder / fmt.STRETCHES, _note_name(job.number), note)
    return start, at


def _begin(folder: Path, plan: Plan, size: int, workers: Workers) -> Plan:
    """Let nothing be merged; returns the plan with splitters for so many workers."""
    notes = folder / fmt.STRETCHES
    if notes.exists():
        shutil.rmtree(notes)
        sync_directory(folder)
    length = plan.stream_len
    most = max(1, length // FEWEST)
    number = min(most, max(workers.number * STRETCHES, -(-length // MOST)))
    splitters = plan.merge(folder).splitters(number)
    plan = Plan(plan.id, plan.dtype, plan.stream_len, plan.blocks, splitters)
    with opened_to_write(folder / fmt.UNFINISHED) as out:
        os.ftruncate(out, size)
        sync(out)
    notes.mkdir()
    sync_directory(folder)
    write_checked(notes, PLAN, asdict(plan))
    return plan


def _note_name(number: int) -> str:
    return f"{number:06}.json"


def _read_plan(folder: Path) -> Plan | None:
    """The plan in a segment's folder; None if there is none, or a damaged one."""
    given = read_checked(folder / fmt.STRETCHES, PLAN)
    if given is None:
        return None
    try:
        with given as fields:
            length = fields.integer("stream_len", 1)
            return Plan(
                fields.text("id"),
                fields.choice("dtype", fmt.TOKEN_DTYPES),
                length,
                [block_of(block, length) for block in fields.objects("blocks")],
                [
                    Fields({"splitters": each}).integer("splitters", 0, length - 1)
                    for each in fields.array("splitters")
                ],
            )
    except ValueError:
        return None


def _read_note(folder: Path, plan: Plan, number: int) -> tuple[int, int] | None:
    """Which ranks a stretch has that is merged; None if it is not, or not by this plan."""
    given = read_checked(folder / fmt.STRETCHES, _note_name(number))
    if given is None:
        return None
    try:
        with given as fields:
            known = fields.text("plan")
            first = fields.integer("first", 0, plan.stream_len)
            end = fields.integer("end", first, plan.stream_len)
    except ValueError:
        return None
    return (first, end) if known == plan.id else None
