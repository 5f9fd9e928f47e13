"""A page on which everybody who is there reads what the others write, at once. Nothing is stored."""

import asyncio
import collections
import json

import tornado.iostream
import tornado.web

import draining

LINES_MAX = 50  # what who comes later still sees
LINE_CHARS_MAX = 200
BACKLOG_LINES_MAX = 100  # who reads more slowly than this is let go, and comes back

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,"><title>The pier</title>
<style>
body { font: 1.1rem/1.5 system-ui; max-width: 34rem; margin: 8vh auto; padding: 0 1rem }
ol { list-style: none; padding: 0 } li { overflow-wrap: anywhere } form { display: flex; gap: .5rem }
input { flex: 1; min-width: 0 } input, button { font: inherit; padding: .3rem .6rem }
</style>
<h1>The pier</h1><p>Who else is here reads what you write, as soon as you have.</p>
<form><input name="text" maxlength="200" required autofocus aria-label="Your line"><button>Say</button></form>
<ol aria-live="polite"></ol>
<script>
const list = document.querySelector("ol"), form = document.querySelector("form");
const lines = new EventSource("lines");
lines.onopen = () => list.replaceChildren();
lines.onmessage = event => {
  const item = document.createElement("li");
  item.textContent = JSON.parse(event.data).text;
  list.prepend(item);
};
form.onsubmit = async event => {
  event.preventDefault();
  const body = JSON.stringify({ text: form.text.value });
  const said = await fetch("lines", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  if (said.ok) form.reset();
};
</script></html>
"""


class Pier:
    """What was said lately, and who listens."""

    def __init__(self):
        self.lines = collections.deque(maxlen=LINES_MAX)
        self.listeners = set()

    def say(self, line):
        self.lines.append(line)
        for queue in list(self.listeners):
            if queue.full():
                self.let_go(queue)
            else:
                queue.put_nowait(line)

    def let_go(self, queue):
        self.listeners.discard(queue)
        while queue.full():
            queue.get_nowait()
        queue.put_nowait(None)

    def close(self):
        """Ends every stream: browsers come back by themselves, to whoever serves then."""
        for queue in list(self.listeners):
            self.let_go(queue)


class Page(draining.Handler):
    def get(self):
        self.write(PAGE)


class Lines(draining.Handler):
    BODY_BYTES_MAX = 4 * 1024

    def initialize(self, pier):
        self.pier = pier
        self.queue = asyncio.Queue(BACKLOG_LINES_MAX)

    async def get(self):
        """Server-sent events: what was said, then what is being said."""
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-store")
        for line in self.pier.lines:
            self.queue.put_nowait(line)
        if self.is_stopping:
            self.queue.put_nowait(None)
        else:
            self.pier.listeners.add(self.queue)
        try:
            await self.flush()
            while (line := await self.queue.get()) is not None:
                self.write(f"data: {json.dumps({'text': line})}\n\n")
                await self.flush()
        except tornado.iostream.StreamClosedError:
            self.pier.listeners.discard(self.queue)

    def post(self):
        """A type that no form of another site can send."""
        if self.request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
            raise tornado.web.HTTPError(415)
        try:
            text = json.loads(self.body())["text"].strip()
        except (ValueError, KeyError, TypeError, AttributeError):
            raise tornado.web.HTTPError(400) from None
        if not 0 < len(text) <= LINE_CHARS_MAX:
            raise tornado.web.HTTPError(422)
        self.pier.say(text)
        self.set_status(204)

    def on_connection_close(self):
        self.pier.let_go(self.queue)
        super().on_connection_close()


async def main():
    pier = Pier()
    await draining.serve([("/", Page), ("/lines", Lines, {"pier": pier})], on_stop=pier.close)


if __name__ == "__main__":
    draining.run(main)
