"""A WebSocket server on PORT of 127.0.0.1, by the library `websockets`: sends back what it gets.

/close   closes with 4321 as soon as somebody is there
/ping    pings whoever is there, and says when the pong has come
/idle    says something, is silent for 3 s, and says something again
"""

import asyncio
import os
import signal

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def serve_one(socket):
    path = socket.request.path
    if path == "/close":
        await socket.close(4321, "as asked")
    elif path == "/ping":
        await (await socket.ping(b"tick"))
        await socket.send("pong came")
    elif path == "/idle":
        await socket.send("before")
        await asyncio.sleep(3)
        await socket.send("after")
    try:
        async for message in socket:
            await socket.send(message)
    except ConnectionClosed:
        pass
    print("closed with", socket.close_code, socket.close_reason, flush=True)


async def main():
    stopped = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set_result, None)
    options = {"ping_interval": None, "max_size": 2**24}
    async with serve(serve_one, "127.0.0.1", int(os.environ["PORT"]), **options) as server:
        print("listening on", server.sockets[0].getsockname()[1], flush=True)
        await stopped


asyncio.run(main())
