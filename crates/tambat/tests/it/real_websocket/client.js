// A WebSocket client, by the library `ws`: client.js PORT HOST WHAT [COUNT]. Ends with 0 if all was as it should be.

const assert = require("node:assert");
const crypto = require("node:crypto");
const events = require("node:events");
const http = require("node:http");
const WebSocket = require("ws");

const [port, host, what, count] = process.argv.slice(2);
const headers = { Host: `${host}:${port}` };

/// An open socket, whose messages are waited for one by one.
async function dial(path) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, { headers, maxPayload: 2 ** 24 });
  const waiting = [];
  const arrived = [];
  const settle = () => {
    while (waiting.length && arrived.length) waiting.shift()(arrived.shift());
  };
  socket.on("message", (data, isBinary) => {
    arrived.push(isBinary ? data : data.toString());
    settle();
  });
  socket.next = () => new Promise((resolve) => {
    waiting.push(resolve);
    settle();
  });
  socket.ended = events.once(socket, "close");
  await events.once(socket, "open");
  return socket;
}

async function closed(socket) {
  const [code, reason] = await socket.ended;
  return [code, reason.toString()];
}

const work = {
  async echo() {
    const socket = await dial("/");
    const messages = ["hello", "", "čaj 🚢", Buffer.alloc(0), Buffer.alloc(70_000), crypto.randomBytes(2_000_000), "x".repeat(200)];
    for (const message of messages) {
      socket.send(message);
      assert.deepStrictEqual(await socket.next(), message);
    }
    for (let number = 0; number < 500; number += 1) socket.send(String(number));
    for (let number = 0; number < 500; number += 1) assert.strictEqual(await socket.next(), String(number));
    socket.close(1000);
    assert.deepStrictEqual(await closed(socket), [1000, ""]);
  },
  async close() {
    assert.deepStrictEqual(await closed(await dial("/close")), [4321, "as asked"]);
    const socket = await dial("/");
    socket.close(4001, "bye now");
    assert.deepStrictEqual(await closed(socket), [4001, "bye now"]);
  },
  async ping() {
    const socket = await dial("/ping");
    assert.strictEqual(await socket.next(), "pong came");
    const pong = events.once(socket, "pong");
    socket.ping("tock");
    assert.strictEqual((await pong)[0].toString(), "tock");
    socket.close();
  },
  async idle() {
    const socket = await dial("/idle");
    assert.strictEqual(await socket.next(), "before");
    assert.strictEqual(await socket.next(), "after");
    socket.close();
  },
  async many() {
    const sockets = await Promise.all(Array.from({ length: Number(count) }, () => dial("/")));
    for (let round = 0; round < 3; round += 1) {
      await Promise.all(sockets.map(async (socket, number) => {
        socket.send(`${number} ${round}`);
        assert.strictEqual(await socket.next(), `${number} ${round}`);
      }));
    }
    assert.ok(sockets.every((socket) => socket.readyState === WebSocket.OPEN));
    sockets.forEach((socket) => socket.close());
    await Promise.all(sockets.map(closed));
  },
  /// Each event is asked for when the one before it is there: a proxy that holds one back stops everything.
  async events() {
    const stream = await get("/events");
    assert.strictEqual(stream.headers["content-type"], "text/event-stream");
    let text = "";
    let beats = 0;
    let next = 0;
    for await (const part of stream.setEncoding("utf8")) {
      text += part;
      const whole = text.split("\n\n");
      text = whole.pop();
      for (const event of whole) {
        if (event.startsWith(":")) {
          beats += 1;
        } else {
          assert.ok(event.endsWith(`data: event ${next}`), event);
          next += 1;
          // The last ones after a while in which nothing came but comments.
          if (next <= 20) await next_event();
        }
      }
      if (next === 21 && beats >= 10) {
        next = -1;
        break;
      }
    }
    assert.strictEqual(next, -1);
    stream.destroy();
  },
};

async function get(path) {
  const [response] = await events.once(http.get({ host: "127.0.0.1", port, path, headers, agent: false }), "response");
  return response;
}

async function next_event() {
  const response = await get("/next");
  assert.strictEqual(response.statusCode, 200);
  response.resume();
  await events.once(response, "end");
}

work[what]().then(
  () => {
    console.log(what, "was as it should be");
    process.exit(0);
  },
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
