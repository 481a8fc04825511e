"""Who is admitted: the key of a request, its rate, what it may ask.

In: requests' heads. Out: keys, or refusals. Follows the file of keys. What a key may not ask is
refused in the same words whether it is there or not.
"""

from everygram.server import access
from everygram.server.exchange import Exchange
from everygram.server.keys import Key, Keys, Scope, token_of
from everygram.server.problems import SHOWN, Refusal
from everygram.server.rates import Rates
from everygram.server.settings import Settings


class Admission:
    """The keys and rates of a service."""

    def __init__(self, settings: Settings, rates: Rates) -> None:
        """Read the file of keys. Raises OptionError."""
        self._settings, self._rates = settings, rates
        self._keys = Keys.load(settings.keys) if settings.keys else None

    @property
    def has_keys(self) -> bool:
        """Whether requests need keys."""
        return self._keys is not None

    def follow(self) -> None:
        """Read the file of keys again if it has changed."""
        if self._keys is not None:
            self._keys = self._keys.latest()

    def key(self, exchange: Exchange) -> Key | None:
        """The request's key, if one is needed. Counts the request. Raises Refusal."""
        is_open = exchange.method in ("GET", "HEAD") and access.is_open(
            exchange.path, exchange.header("accept")
        )
        needed = self._keys is not None and not is_open
        key = self.known(exchange) if needed else None
        if exchange.path.startswith(access.PAGE_FILES):  # a dozen at once, from memory
            return None
        if key is not None:
            exchange.key = key.name
        # (Who tries keys that are not known has the rate of addresses.)
        wait = self._rates.check(key, exchange.address)
        if wait is not None:
            seconds = "1 second" if round(wait) == 1 else f"{wait:.0f} seconds"
            raise Refusal(
                "rate-limited",
                f"too many requests; try again in {seconds}",
                headers=(("retry-after", f"{wait:.0f}"),),
            )
        if needed and key is None:
            raise _unauthorized()
        return key

    def known(self, exchange: Exchange) -> Key | None:
        """The key that a request has, if it is known."""
        if self._keys is None:
            return None
        token = token_of(exchange.header("authorization"))
        return None if token is None else self._keys.find(token)

    def may_read(self, key: Key | None, index: str) -> bool:
        """Whether an index may be read, and named, with this key, or without one."""
        return self._keys is None or (key is not None and key.allows(index, "read"))

    def check(self, key: Key | None, name: str, scope: Scope) -> None:
        """Raise Refusal if the key, or its absence, does not allow this.

        name: of an index, a union or an alias, or of nothing.
        """
        if self._keys is None:
            if scope == "write":
                raise Refusal(
                    "forbidden", "writing needs a key: the service was started without --keys"
                )
        elif key is None:
            raise _unauthorized()
        # ("" would be any index.)
        elif not key.allows(self._settings.aliases.get(name, name) or "/", scope):
            raise Refusal("forbidden", f"this key may not {scope} index '{name[:SHOWN]}'")


def _unauthorized() -> Refusal:
    return Refusal(
        "unauthorized",
        "expected a key that is known here, as 'Authorization: Bearer KEY'",
        headers=(("www-authenticate", "Bearer"),),
    )
