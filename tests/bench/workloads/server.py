"""An HTTP server with a thread for each request and its client, over 127.0.0.1: many short threads."""
import http.client
import http.server
import json
import sys
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        question = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        answer = json.dumps({"squares": [i * i for i in question["numbers"]]}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


def ask(port, number):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    body = json.dumps({"numbers": list(range(number % 150))})
    connection.request("POST", "/squares", body, {"Content-Type": "application/json", "X-Request": str(number)})
    answer = connection.getresponse()
    squares = json.loads(answer.read())["squares"]
    connection.close()
    return answer.status + sum(squares)


def main(scale):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    answers = sum(ask(server.server_port, number) for number in range(int(scale * 1600)))
    server.shutdown()
    thread.join()
    server.server_close()
    return answers


if __name__ == "__main__":
    print("checksum", main(float(sys.argv[1])))
