"""The indexes a service has: opened, followed while writers change them, found by name.

In: folders, under names. Out: `Index` objects. Knows nothing of queries or of HTTP.
"""

import copy
import hashlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from everygram.errors import EverygramError, OptionError
from everygram.index import Index
from everygram.index.union import UnionIndex
from everygram.server.problems import Refusal
from everygram.server.settings import Settings
from everygram.server.warming import warm_up

logger = logging.getLogger("everygram")

# An index is served as it was until its folder was found missing, or wrong, so many times in
# succession: a folder that is being replaced by another is missing for a moment.
LOOKS = 2


class _Served:
    """An index or a union that is served, and why it is not just now."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.trouble = ""
        self.looks = 0


class Indexes:
    """The indexes of a service, by name. Methods may be called from several threads."""

    def __init__(self, settings: Settings, over_ray: bool = False) -> None:
        """Open all of them. Raises as `everygram.open`, and OptionError for unions of unlike ones.

        Tokenizers are loaded at once, so that one that cannot be stops the service, not a query.

        over_ray: on the settings' cluster, which only a process that forks no more may do.
        """
        self._settings, self._over_ray = settings, over_ray
        self._looking = threading.Lock()
        served: dict[str, _Served] = {}
        for name, path in settings.indexes.items():
            served[name] = _Served(self._opened(path))
        self._bases = list(served)
        for name, union in settings.unions.items():
            of, minus = (
                [served[each].index for each in names] for names in (union.of, union.minus)
            )
            served[name] = _Served(UnionIndex.of(of, minus, union.of))
        # (Both at once: who answers here, and runners, who are told the stamp, must not see one
        # change at different times.)
        self._state = served, _stamped(served)

    @property
    def _served(self) -> dict[str, _Served]:
        return self._state[0]

    @property
    def stamp(self) -> str:
        """Names the state of all of them: another one after any change."""
        return self._state[1]

    def _opened(self, path: Path, verify: bool = False) -> Index:
        # (`Path.resolve` raises RuntimeError for links in a circle.)
        path = Path(os.path.realpath(path))
        settings = self._settings
        verify, preload = verify or settings.verify, settings.preload
        index = Index(path, verify=verify, preload=() if settings.ray else preload)
        if self._over_ray:
            from everygram.distributed.querying import RayIndex

            assert settings.ray is not None
            index = RayIndex(
                path,
                ray=settings.ray,
                actors=settings.actors or None,
                replicas=settings.replicas,
                verify=verify,
                preload=preload,
            )
        _ = index.tokenizer
        return index

    @property
    def names(self) -> list[str]:
        """The names of indexes, then of unions; aliases are not among them."""
        return list(self._served)

    def resolved(self, name: str) -> str:
        """The name itself, or what it is an alias of. Raises Refusal (404)."""
        name = self._settings.aliases.get(name, name)
        if name not in self._served:
            # (Not every key may know of every index.)
            names = ", ".join(f"'{known}'" for known in self._served)
            listed = (
                "GET /v1/indexes lists those that are"
                if self._settings.keys
                else (f"expected one of {names}")
            )
            raise Refusal("not-found", f"index '{name[:200]}' is not served here; {listed}")
        return name

    def get(self, name: str) -> Index:
        """The index of that name or alias. Raises Refusal: 404, or 503 while it cannot be read."""
        served = self._served[self.resolved(name)]
        if served.trouble:
            raise Refusal(
                "index-unavailable",
                f"index '{name}' cannot be read just now: {served.trouble}",
                headers=(("retry-after", "5"),),
            )
        return served.index

    def values(self) -> Iterator[Index]:
        """The indexes, those left out that cannot be read just now."""
        return (index for _, index in self.items())

    def items(self) -> Iterator[tuple[str, Index]]:
        """Names and indexes, those left out that cannot be read just now."""
        for name, served in self._served.items():
            if not served.trouble:
                yield name, served.index

    def troubles(self) -> dict[str, str]:
        """The indexes that cannot be read just now, and why."""
        return {name: each.trouble for name, each in self._served.items() if each.trouble}

    def warm_up(self) -> None:
        """Compile what queries run, or load it from the disk cache."""
        for _, index in self.items():
            warm_up(index)

    def look(self) -> bool:
        """See what writers did: later queries are answered from what is there now.

        An index whose files were written to, cut off or removed is not served until its folder is
        whole again, which is found by reading all of it. Returns whether anything changed.
        """
        with self._looking:
            before = self._served
            now = {name: copy.copy(each) for name, each in before.items()}
            for name in self._bases:
                self._look_at(name, now[name])
            for name in self._settings.unions:
                self._unite(name, now)
            self._state = now, _stamped(now)
            return any(
                (each.index, each.trouble) != (before[name].index, before[name].trouble)
                for name, each in now.items()
            )

    def changed(self) -> bool:
        """Whether `look` would find another manifest somewhere. Reads manifests alone."""
        return any(self._served[name].index.changed() for name in self._bases)

    def _look_at(self, name: str, served: _Served) -> None:
        try:
            if served.trouble:
                served.index = self._opened(served.index.path, verify=True)
            else:
                served.index = served.index.latest()
                written = served.index.disturbed()
                if written is not None:
                    # What is mapped of it may be cut off: nobody may read it again.
                    served.looks = LOOKS
                    raise OptionError(f"{written} was changed")
        except (EverygramError, OSError) as error:
            served.looks += 1
            if served.looks >= LOOKS and not served.trouble:
                logger.warning("'%s' is not served: %s", name, error)
                served.trouble = "its files were removed or changed"
        else:
            if served.trouble:
                logger.warning("'%s' is served again", name)
            served.looks, served.trouble = 0, ""

    def _unite(self, name: str, now: dict[str, _Served]) -> None:
        served, union = now[name], self._settings.unions[name]
        parts = [now[each] for each in (*union.of, *union.minus)]
        wrong = next((each.trouble for each in parts if each.trouble), "")
        if not wrong:
            indexes = [each.index for each in parts]
            of, minus = indexes[: len(union.of)], indexes[len(union.of) :]
            assert isinstance(served.index, UnionIndex)
            try:
                served.index = served.index.renewed(of, minus)
            except (EverygramError, OSError) as error:
                if not served.trouble:
                    logger.warning("'%s' is not served: %s", name, error)
                wrong = "its indexes do not fit together as they are now"
        served.trouble = wrong


def _stamped(served: dict[str, _Served]) -> str:
    states: Sequence[str] = [
        f"{name} {each.trouble or each.index.version}" for name, each in served.items()
    ]
    return hashlib.sha256("\n".join(states).encode()).hexdigest()[:16]
