"""A web page of known size, for apps that fetch one."""
import contextlib
import http.server
import threading

PAGE_BYTES = 5 << 20


class Page(http.server.BaseHTTPRequestHandler):
    """Whatever the path is."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(PAGE_BYTES))
        self.end_headers()
        self.wfile.write(b"x" * PAGE_BYTES)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve_page():
    """Gives its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()
