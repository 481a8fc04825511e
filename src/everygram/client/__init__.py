"""Clients of a service: `Client`, and `AsyncClient`, whose methods are awaited.

`everygram.Client(url).index("x")` stands for `everygram.open("x")`.
"""

import asyncio
import time
from typing import Self, TypeVar

from everygram.client import conversation as said
from everygram.client.asking import Answer
from everygram.client.asynchronous import AsyncRemoteIndex
from everygram.client.conversation import Conversation
from everygram.client.index import RemoteIndex
from everygram.client.sending import Address, AsyncSender, Sender

R = TypeVar("R")


class Client:
    """A service, by its URL.

    key: the API key (default: the environment's EVERYGRAM_KEY, if it is set). timeout: seconds
    that an answer may be silent, and that requests are tried again within, where the service is
    busy (429, 503) or the connection is refused or lost. May be used from several threads.

    All calls raise what `Index` raises for the same query, and ServiceError for anything else.

    >>> with everygram.Client("http://localhost:8000") as client:
    ...     client.index("wiki").count("the standard library")
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = 60.0) -> None:
        """Raises OptionError, and MissingExtraError without httpx2."""
        self._sender = Sender(Address.of(url, key, timeout))

    def hold(self, conversation: Conversation[R]) -> R:
        """The result of a conversation with the service."""
        return _held(conversation, self._sender)

    def indexes(self) -> list[Answer]:
        """What each index is that the key may read, as JSON values; `name` is what it is called."""
        return self.hold(said.listing())

    def index(self, name: str) -> RemoteIndex:
        """An index. Raises ServiceError ("not-found") if there is none of that name."""
        return RemoteIndex(self, self.hold(said.describing(name)))

    def close(self) -> None:
        """Close the connections."""
        self._sender.client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<everygram.Client '{self._sender.address.url}'>"


class AsyncClient:
    """As `Client`, with methods that are awaited.

    (Where results show tokens, the tokenizer is fetched when they are first wanted, which waits
    for the service, once; `await index.load_tokenizer()` does so before.)

    >>> async with everygram.AsyncClient("http://localhost:8000") as client:
    ...     index = await client.index("wiki")
    ...     await index.count("the standard library")
    """

    def __init__(self, url: str, key: str | None = None, timeout: float = 60.0) -> None:
        """Raises OptionError, and MissingExtraError without httpx2."""
        self._sender = AsyncSender(Address.of(url, key, timeout))

    async def hold(self, conversation: Conversation[R]) -> R:
        """The result of a conversation with the service."""
        try:
            say = next(conversation)
            while True:
                if isinstance(say, float):
                    await asyncio.sleep(say)
                    say = next(conversation)
                    continue
                try:
                    content = await self._sender.send(say)
                except Exception as error:
                    say = conversation.throw(error)
                else:
                    say = conversation.send(content)
        except StopIteration as end:
            result: R = end.value
            return result

    def fetch(self, conversation: Conversation[R]) -> R:
        """The same, without another task's getting its turn."""
        sender = Sender(self._sender.address)
        with sender.client:
            return _held(conversation, sender)

    async def indexes(self) -> list[Answer]:
        """What each index is that the key may read, as JSON values; `name` is what it is called."""
        return await self.hold(said.listing())

    async def index(self, name: str) -> AsyncRemoteIndex:
        """An index. Raises ServiceError ("not-found") if there is none of that name."""
        return AsyncRemoteIndex(self, await self.hold(said.describing(name)))

    async def close(self) -> None:
        """Close the connections."""
        await self._sender.client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<everygram.AsyncClient '{self._sender.address.url}'>"


def _held(conversation: Conversation[R], sender: Sender) -> R:
    """The result of a conversation, requests being sent by this sender."""
    try:
        say = next(conversation)
        while True:
            if isinstance(say, float):
                time.sleep(say)
                say = next(conversation)
                continue
            try:
                content = sender.send(say)
            except Exception as error:
                say = conversation.throw(error)
            else:
                say = conversation.send(content)
    except StopIteration as end:
        result: R = end.value
        return result
