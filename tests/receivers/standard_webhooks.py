"""A receiver of Standard Webhooks that trusts only the reference library.

Prints its port, then appends one JSON object per request to --log, before it answers:
  {"id", "ok", "sha256", "attempt", "status", "path", "agent", "why"}
`ok` is the verdict of standardwebhooks; a request that it refuses is answered with 401. `attempt` counts requests of that
id, from 1.

--answer STATUS[*N]      answers the next N requests (default 1) like this; may be repeated, first come first served
--answer throttle:SECS   429 with Retry-After; whoever comes back earlier is told 400
--answer date:SECS       the same with the date form of Retry-After
--tls PEM                certificate and key in one file: https
--id ID=STATUS           answers every request of that id like this; `hang` never answers
"""

import argparse
import email.utils
import hashlib
import json
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

parser = argparse.ArgumentParser()
parser.add_argument("--log", required=True)
parser.add_argument("--secret", required=True)
parser.add_argument("--port", type=int, default=0)
parser.add_argument("--answer", action="append", default=[])
parser.add_argument("--tls")
parser.add_argument("--id", action="append", default=[])
args = parser.parse_args()

webhook = Webhook(args.secret)
by_id = dict(pair.split("=", 1) for pair in args.id)
answers = []
for answer in args.answer:
    kind, _, times = answer.partition("*")
    answers += [kind] * int(times or 1)
lock = threading.Lock()
attempts = {}
closed_until = 0.0
log = open(args.log, "a", buffering=1)


def choose(message_id):
    """Status and headers of the answer. Called with the lock held."""
    global closed_until
    if time.monotonic() < closed_until:
        return "400", {}
    if message_id in by_id:
        return by_id[message_id], {}
    if not answers:
        return "200", {}
    kind = answers.pop(0)
    name, _, seconds = kind.partition(":")
    if name == "throttle":
        closed_until = time.monotonic() + int(seconds)
        return "429", {"Retry-After": seconds}
    if name == "date":
        # Whole seconds: the date form has no finer ones, so the door opens up to one second earlier.
        closed_until = time.monotonic() + int(seconds) - 1
        return "429", {"Retry-After": email.utils.formatdate(time.time() + int(seconds), usegmt=True)}
    return kind, {}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        message_id = self.headers.get("webhook-id", "")
        why = ""
        try:
            webhook.verify(body, dict(self.headers))
            ok = self.headers.get("content-type") == "application/json"
        except WebhookVerificationError as error:
            ok, why = False, str(error)
        with lock:
            attempts[message_id] = attempts.get(message_id, 0) + 1
            status, headers = choose(message_id) if ok else ("401", {})
            entry = {
                "id": message_id,
                "ok": ok,
                "sha256": hashlib.sha256(body).hexdigest(),
                "attempt": attempts[message_id],
                "status": status,
                "path": self.path,
                "agent": self.headers.get("user-agent", ""),
                "why": why,
            }
            log.write(json.dumps(entry) + "\n")
        if status == "hang":
            time.sleep(3600)
        # An answer as an attacker who holds the receiver would write it.
        text = b"" if status == "204" else b"status " + status.encode() + b" \x1b[31mred\x1b[0m"
        self.send_response(int(status))
        if status in ("301", "302", "307", "308"):
            self.send_header("Location", "/elsewhere")
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    """Keeps quiet about connections that a sender dropped."""

    daemon_threads = True
    request_queue_size = 128
    allow_reuse_address = True

    def handle_error(self, *_):
        pass


server = Server(("127.0.0.1", args.port), Handler)
if args.tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(args.tls)
    server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
