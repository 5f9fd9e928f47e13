"""A page on PORT that talks over a WebSocket to where it came from, by the library `websockets`.

The page is loaded when the talk is over: its last script is answered then. What a browser shows of it is how the talk
went, and by which protocol the router heard the handshake.
"""

import asyncio
import http
import os
import signal

from websockets.asyncio.server import serve

PAGE = """<!doctype html><meta charset=utf-8><title>talk</title><p id=said>nothing came</p><script>
const said = document.getElementById("said");
const socket = new WebSocket(`wss://${location.host}/talk`);
socket.binaryType = "arraybuffer";
const messages = ["hello", "", "čaj 🚢", "x".repeat(100000), new Uint8Array(70000).fill(7).buffer];
const isEqual = (a, b) => typeof a === "string" ? a === b : new Uint8Array(a).every((v, i) => v === new Uint8Array(b)[i]);
let via, next = 0;
socket.onerror = () => said.textContent = "it failed";
socket.onmessage = ({data}) => {
    if (via === undefined) via = data;
    else if (!isEqual(messages[next], data)) said.textContent = `message ${next} came back as another`;
    else next += 1;
    if (next < messages.length) socket.send(messages[next]);
    else socket.close(4001, "bye now");
};
socket.onclose = ({code, wasClean}) => {
    const page = performance.getEntriesByType("navigation")[0].nextHopProtocol;
    said.textContent = `talked ${next}, closed ${code} ${wasClean}, page over ${page}, via ${via}`;
    fetch("/over");
};
</script><script src="/done.js"></script>
"""

over = asyncio.Event()


async def answer(connection, request):
    if request.path == "/talk":
        return None
    if request.path == "/over":
        over.set()
    elif request.path == "/done.js":
        await over.wait()
    response = connection.respond(http.HTTPStatus.OK, PAGE if request.path == "/" else "")
    del response.headers["Content-Type"]
    response.headers["Content-Type"] = "text/html" if request.path == "/" else "text/javascript"
    return response


async def talk(socket):
    await socket.send(socket.request.headers["Via"])
    async for message in socket:
        await socket.send(message)


async def main():
    stopped = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set_result, None)
    options = {"process_request": answer, "ping_interval": None, "open_timeout": 60}
    async with serve(talk, "127.0.0.1", int(os.environ["PORT"]), **options):
        await stopped


asyncio.run(main())
