"""Sends back what it is sent, line by line, and says when a client has ended."""

import os
import socketserver


class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        try:
            for line in self.rfile:
                self.wfile.write(line)
            print("the end of a client in order", flush=True)
        except OSError as error:
            print(f"the end of a client by {error}", flush=True)


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128


with Server(("127.0.0.1", int(os.environ["PORT"])), Echo) as server:
    server.serve_forever()
