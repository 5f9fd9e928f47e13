// A WebSocket server on PORT of 127.0.0.1, by the library `ws`: sends back what it gets.
//
// /close   closes with 4321 as soon as somebody is there
// /ping    pings whoever is there, and says when the pong has come
// /idle    says something, is silent for 3 s, and says something again
// /events  no WebSocket, but server-sent events: the next one is sent when somebody asks for /next

const http = require("node:http");
const { WebSocketServer } = require("ws");

const listeners = new Set();

const server = http.createServer((request, response) => {
  if (request.url === "/events") {
    response.writeHead(200, { "Content-Type": "text/event-stream", "Cache-Control": "no-cache" });
    response.write("data: event 0\n\n");
    const listener = { response, sent: 0, beat: setInterval(() => response.write(": still here\n\n"), 300) };
    listeners.add(listener);
    response.on("close", () => {
      clearInterval(listener.beat);
      listeners.delete(listener);
    });
  } else if (request.url === "/next") {
    for (const listener of listeners) {
      listener.sent += 1;
      listener.response.write(`id: ${listener.sent}\ndata: event ${listener.sent}\n\n`);
    }
    response.end("sent");
  } else {
    response.writeHead(404).end();
  }
});

const sockets = new WebSocketServer({ server, maxPayload: 2 ** 24 });

sockets.on("connection", (socket, request) => {
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on("close", (code, reason) => console.log("closed with", code, reason.toString()));
  if (request.url === "/close") {
    socket.close(4321, "as asked");
  } else if (request.url === "/ping") {
    socket.on("pong", (data) => data.toString() === "tick" && socket.send("pong came"));
    socket.ping("tick");
  } else if (request.url === "/idle") {
    socket.send("before");
    setTimeout(() => socket.send("after"), 3000);
  }
});

server.listen(Number(process.env.PORT), "127.0.0.1", 2048, () => console.log("listening on", server.address().port));
process.on("SIGTERM", () => process.exit(0));
