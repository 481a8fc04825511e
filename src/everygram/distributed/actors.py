"""Processes of a Ray cluster that hold segments of an index, and how they are asked.

A question goes to all that it concerns at once. One that does not come back is asked again: of a
replica, or of the actor, which Ray starts again elsewhere if its process or machine has died.
"""

import contextlib
import dataclasses
import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from everygram.engine.engine import Engine
from everygram.engine.queries import Queries
from everygram.errors import EverygramError, QueryError, UnreachableSegmentError
from everygram.storage import format as fmt
from everygram.storage.directory import check_files, open_segment, read_manifest

# Seconds until an actor that does not answer counts as unreachable, if none can be started.
PATIENCE = 60.0
# Seconds after which an actor that has not answered is asked whether it is alive; so many it has
# to say so.
SILENCE = 15.0
# Seconds between two tries.
PAUSE = 0.2
# Questions that one actor answers at the same time.
AT_ONCE = 8
ALIVE = "alive"


class Held(NamedTuple):
    """What an actor holds: segments of one index."""

    path: Path
    entries: tuple[fmt.SegmentEntry, ...]
    dtype: str
    vocab_size: int
    separator: int
    next_document: int
    preload: tuple[str, ...]
    verify: bool


class Holder:
    """What runs in an actor: an engine over some of the segments, opened when it is first asked."""

    def __init__(self, held: Held) -> None:
        self._held = held
        self._engine: Engine | None = None
        self._opening = threading.Lock()

    def ask(self, name: str, args: Sequence[Any]) -> tuple[bool, Any]:
        """Whether the question has an answer, and the answer or the error."""
        try:
            return True, getattr(self, name)(*map(own, args))
        except EverygramError as error:
            return False, error

    def opened(self) -> Engine:
        """The engine. Raises UnreachableSegmentError for all segments that cannot be opened."""
        with self._opening:
            if self._engine is None:
                self._engine = self._open()
            return self._engine

    def _open(self) -> Engine:
        held = self._held
        segments, lacking, why = [], [], ""
        for entry in held.entries:
            try:
                segment = open_segment(held.path / entry.name, entry, held.dtype)
                if held.verify:
                    check_files([segment])
                segments.append(segment)
            except (EverygramError, OSError) as error:
                lacking.append(entry.name)
                why = why or str(error)
        if lacking:
            raise unreachable(held.path, lacking, why)
        given = held.vocab_size, held.separator, held.next_document, held.preload
        engine = Engine(segments, *given)
        engine.path = held.path
        # Counts are subtracted where all are together: the deleted documents may be elsewhere.
        engine._deleting = False
        return engine

    def check(self) -> None:
        """Open the segments."""
        self.opened()

    def alive(self) -> None:
        """Answers at once, in a thread of its own."""

    def of_engine(self, name: str, *args: Any) -> Any:
        """What a method of the engine answers."""
        return getattr(self.opened(), name)(*args)

    def of_segment(self, number: int, name: str, *args: Any) -> Any:
        """A field of a segment, or what its method answers."""
        found = getattr(self.opened().segments[number], name)
        return found(*args) if callable(found) else np.asarray(found)

    def at(self, number: int, name: str, *args: Any) -> Any:
        """What a method of the engine answers about one of its segments."""
        engine = self.opened()
        return getattr(engine, name)(engine.segments[number], *args)

    def document_counts(self, queries: Queries) -> tuple[np.ndarray, np.ndarray]:
        """The intervals of queries, and in how many documents they are."""
        engine = self.opened()
        intervals = engine.find_batch(queries)
        return intervals, engine.documents_added(intervals)

    def match_lengths(self, text: Queries, over_end: bool) -> np.ndarray:
        """As of the engine."""
        engine = self.opened()
        none = np.empty((0, len(engine.segments), 2), np.int64)
        return engine.match_lengths(text, over_end, none)

    def found_in(self, prompts: Sequence[tuple[np.ndarray, int, np.ndarray, int]]) -> list[Any]:
        """`found_in` of each of the prompts."""
        engine = self.opened()
        return [
            engine.found_in(
                np.frombuffer(prompt.tobytes(), prompt.dtype), length, np.array(intervals), stride
            )
            for prompt, length, intervals, stride in prompts
        ]

    def filled(self, name: str, shape: tuple[int, ...], *args: Any) -> tuple[np.ndarray, Any]:
        """The counts that a scan of the engine answers, and what it fills."""
        found = np.empty(shape, np.int64)
        counts = getattr(self.opened(), name)(*args, found)
        return counts, found[: int(counts.sum())]


def own(value: Any) -> Any:
    """A value without arrays of Ray's, which are read-only (kernels would be compiled for them)."""
    if isinstance(value, np.ndarray):
        return np.array(value)
    if isinstance(value, Queries):
        return value.copied()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {each.name: own(getattr(value, each.name)) for each in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    if type(value) in (list, tuple):
        return type(value)(map(own, value))
    return value


def unreachable(path: Path, names: Sequence[str], why: str) -> UnreachableSegmentError:
    """The error for segments that cannot be asked."""
    named = ", ".join(f"'{name}'" for name in names)
    advice = (
        "make its files readable on every machine of the cluster, or open the index with "
        "partial=True for answers without it"
    )
    with contextlib.suppress(EverygramError):
        if not {*names} <= {entry.name for entry in read_manifest(path).segments}:
            advice = "the index has another version by now, without it: refresh() opens that"
    return UnreachableSegmentError(
        f"index '{path}': segment {named} cannot be reached: {why}; {advice}", tuple(names)
    )


class Group:
    """Replicas of an actor that hold the same segments."""

    def __init__(self, ray: Any, held: Held, replicas: int) -> None:
        self.held = held
        self._ray = ray
        self._changing = threading.Lock()
        self._turns = itertools.count()
        self._actors = [self._started() for _ in range(replicas)]

    def _started(self) -> Any:
        """A new actor, on a machine that has few."""
        return (
            self._ray.remote(concurrency_groups={ALIVE: 1})(Holder)
            .options(
                num_cpus=0,
                max_restarts=-1,
                max_task_retries=0,
                max_concurrency=AT_ONCE,
                scheduling_strategy="SPREAD",
            )
            .remote(self.held)
        )

    def send(self, name: str, args: Sequence[Any]) -> tuple[Any, Any]:
        """Ask the next replica: it, and where its answer will be."""
        actor = self._actors[next(self._turns) % len(self._actors)]
        return actor, actor.ask.remote(name, args)

    def replace(self, actor: Any) -> None:
        """Start another actor for one that will not come back."""
        with self._changing:
            if actor in self._actors:
                self._actors[self._actors.index(actor)] = self._started()

    def hangs(self, actor: Any) -> bool:
        """Whether an actor's process, or the way to it, has stopped. If so, it is ended."""
        there = actor.alive.options(concurrency_group=ALIVE).remote()
        try:
            self._ray.get(there, timeout=SILENCE)
        except self._ray.exceptions.GetTimeoutError:
            self._ray.kill(actor)
            self.replace(actor)
            return True
        except self._ray.exceptions.RayError:
            pass  # (That it has died its answer says.)
        return False

    @property
    def names(self) -> list[str]:
        """The names of its segments."""
        return [entry.name for entry in self.held.entries]


class Actors:
    """All groups. Methods may be called from several threads."""

    def __init__(self, ray: Any, groups: Sequence[Group]) -> None:
        self._ray, self._process = ray, os.getpid()
        self.groups = list(groups)
        # Whether a segment was found not to be reached.
        self.lost = False

    def ask(self, questions: Sequence[tuple[int, str, tuple[Any, ...]]]) -> list[Any]:
        """The answers to questions: of which group, its `Holder`'s method, and the arguments.

        Raises UnreachableSegmentError, and what the holders raise.
        """
        if os.getpid() != self._process:
            raise QueryError(
                "a forked process cannot ask over the connection to Ray of the one that opened the "
                "index; open it again here"
            )
        end = time.monotonic() + PATIENCE
        sent = [self.groups[group].send(name, args) for group, name, args in questions]
        answers = []
        for (number, name, args), first in zip(questions, sent, strict=True):
            answers.append(self._answer(self.groups[number], name, args, first, end))
        return answers

    def ask_all(self, name: str, *args: Any) -> list[Any]:
        """What all groups answer to the same question."""
        return self.ask([(group, name, args) for group in range(len(self.groups))])

    def _answer(
        self, group: Group, name: str, args: Sequence[Any], sent: tuple[Any, Any], end: float
    ) -> Any:
        errors = self._ray.exceptions
        why: Exception
        while True:
            actor, there = sent
            try:
                ok, answer = self._ray.get(there, timeout=SILENCE)
            except errors.GetTimeoutError:
                if not group.hangs(actor):
                    continue
                why = TimeoutError("it does not answer")
            except errors.ActorDiedError as error:
                why = error
                group.replace(actor)
            except (errors.RayActorError, errors.ObjectLostError) as error:
                why = error
            else:
                if not ok:
                    self.lost = self.lost or isinstance(answer, UnreachableSegmentError)
                    raise answer
                return own(answer)
            if time.monotonic() > end:
                self.lost = True
                raise unreachable(
                    group.held.path, group.names, f"no process that holds it answers ({why})"
                ) from None
            time.sleep(PAUSE)
            sent = group.send(name, args)


def shared(entries: Sequence[fmt.SegmentEntry], number: int) -> list[list[fmt.SegmentEntry]]:
    """Segments in so many groups of about the same size, in the order of the index each."""
    size: Callable[[fmt.SegmentEntry], int] = lambda entry: sum(  # noqa: E731
        file.bytes for file in entry.files.values()
    )
    groups: list[list[fmt.SegmentEntry]] = [[] for _ in range(min(number, len(entries)))]
    for entry in sorted(entries, key=size, reverse=True):
        min(groups, key=lambda group: sum(map(size, group))).append(entry)
    order = {entry.name: place for place, entry in enumerate(entries)}
    return [sorted(group, key=lambda entry: order[entry.name]) for group in groups if group]
