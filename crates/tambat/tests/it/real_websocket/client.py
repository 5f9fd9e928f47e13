"""A WebSocket client, by the library `websockets`: client.py PORT HOST WHAT [COUNT]. Ends with 0 if all was as it should be."""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

PORT, HOST, WHAT = int(sys.argv[1]), sys.argv[2], sys.argv[3]
OPTIONS = {"host": "127.0.0.1", "port": PORT, "proxy": None, "ping_interval": None, "max_size": 2**24, "open_timeout": 60}


def dial(path):
    return connect(f"ws://{HOST}:{PORT}{path}", **OPTIONS)


async def echo():
    async with dial("/") as socket:
        for message in ["hello", "", "čaj 🚢", b"", bytes(range(256)), "x" * 200, b"\0" * 70_000, os.urandom(2_000_000)]:
            await socket.send(message)
            assert await socket.recv() == message
        # In fragments, and many at once.
        await socket.send(str(part) for part in range(1000))
        assert await socket.recv() == "".join(map(str, range(1000)))
        for number in range(500):
            await socket.send(str(number))
        for number in range(500):
            assert await socket.recv() == str(number)


async def close():
    async with dial("/close") as socket:
        try:
            raise AssertionError(f"got {await socket.recv()!r}")
        except ConnectionClosed as closed:
            assert (closed.rcvd.code, closed.rcvd.reason) == (4321, "as asked"), closed
    async with dial("/") as socket:
        await socket.close(4001, "bye now")
    assert socket.close_code == 4001


async def ping():
    async with dial("/ping") as socket:
        assert await socket.recv() == "pong came"
        await asyncio.wait_for(await socket.ping(b"tock"), 30)


async def idle():
    async with dial("/idle") as socket:
        assert await socket.recv() == "before"
        assert await socket.recv() == "after"


async def many(count):
    together = asyncio.Barrier(count)

    async def one(number):
        async with dial("/") as socket:
            await together.wait()
            for round in range(3):
                await socket.send(f"{number} {round}")
                assert await socket.recv() == f"{number} {round}"
            await together.wait()

    await asyncio.gather(*(one(number) for number in range(count)))


work = {"echo": echo, "close": close, "ping": ping, "idle": idle, "many": lambda: many(int(sys.argv[4]))}
asyncio.run(work[WHAT]())
print(WHAT, "was as it should be")
