"""The host's side of Azure Functions: starts real workers, has them load an app, invokes its functions.

    with Host() as host:
        worker = host.start(workers.install(python), app)
        response = worker.invoke("HttpTriggerSync")
        worker.kill()

A worker gets the command line, folder, pipes and environment that the real host gives it, and is ended as there, by
SIGKILL. What the real host does about placeholders, restarts and scaling is left out.
"""
import concurrent.futures
import json
import os
import queue
import shlex
import signal
import subprocess
import threading
import time
import uuid

import grpc

import protocol
from protocol import DIRECTIONS, SUCCESS

HOST_VERSION = "4.1037.0"
MAX_MESSAGE = 128 << 20
SECONDS = 60
INTERRUPTS = 10

# Variables by which tests choose how a worker starts; those of this machine must not.
NOT_INHERITED = ("PYTHON", "MEMLINE_", "LD_PRELOAD", "FUNCTIONS_", "AzureWebJobs", "CONTAINER_NAME", "WEBSITE_",
                 "MALLOC_")


class Failed(Exception):
    """The worker, or a function, answered with a failure: its message and where it came from."""


def check(result):
    if result.get("status", 0) != SUCCESS:
        exception = result.get("exception", {})
        raise Failed(exception.get("message", "no message") + "\n" + exception.get("stack_trace", ""))


class Response:
    """What a function answered over HTTP."""

    def __init__(self, value):
        http = value.get("http", {})
        self.status = int(http.get("status_code", 0))
        body = http.get("body", {})
        self.body = body.get("bytes", body.get("string", "").encode())

    def json(self):
        return json.loads(self.body)

    def __eq__(self, other):
        return (self.status, self.body) == (other.status, other.body)

    def __repr__(self):
        return f"Response({self.status}, {self.body[:200]})"


def functions_of(app):
    """The functions of an app of the v1 model, which the host finds by their function.json. By name."""
    found = {}
    for name in sorted(os.listdir(app)):
        path = os.path.join(app, name, "function.json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as text:
                function = json.load(text)
            bindings = {each["name"]: {"type": each["type"], "direction": DIRECTIONS[each["direction"]]}
                        for each in function["bindings"]}
            found[name] = {"name": name, "directory": os.path.join(app, name), "bindings": bindings,
                           "script_file": os.path.join(app, name, function["scriptFile"]), "language": "python",
                           "entry_point": function.get("entryPoint", ""), "function_id": str(uuid.uuid4())}
    return found


class Program:
    """A process with pipes. After kill() or wait(): status, stdout and stderr."""

    def __init__(self):
        self.process = self.reader = None
        self.status = self.stdout = self.stderr = None

    def run(self, command, **more):
        """Starts the process and goes on reading its pipes, as the real host does."""
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, **more)
        self.reader = threading.Thread(target=self.drain, daemon=True)
        self.reader.start()

    def drain(self):
        stdout, stderr = self.process.communicate()
        self.stdout, self.stderr = stdout.decode(), stderr.decode()
        self.leave("the process has ended")

    def leave(self, why):
        """For what waits for it."""

    def wait(self, seconds=SECONDS):
        """Waits for the process to end, and for whoever else has its pipes. Gives its status, as subprocess has it."""
        self.reader.join(seconds)
        if self.reader.is_alive():
            raise Failed(f"still running after {seconds} s")
        self.status = self.process.returncode
        return self.status

    def kill(self, number=signal.SIGKILL):
        self.process.send_signal(number)
        return self.wait()

    def interrupt(self):
        """Ends it by SIGINT. A worker that waits for nothing else may not hear one, so it gets some."""
        for _ in range(INTERRUPTS):
            self.process.send_signal(signal.SIGINT)
            self.reader.join(1)
            if not self.reader.is_alive():
                break
        return self.wait(0)


class Func(Program):
    """What stands for the real host's process: it has workers as its children, and ends with them."""

    def __init__(self, workers):
        super().__init__()
        self.workers = workers

    def leave(self, why):
        for each in self.workers:
            each.leave(why)

    @property
    def children(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as text:
            return [int(each) for each in text.read().split()]

    def kill(self, number=signal.SIGKILL):
        for pid in self.children:
            os.kill(pid, number)
        return self.wait()


class Started(Program):
    """A worker's process, and what is said to it. logs: what it sent to the host."""

    def __init__(self, app):
        super().__init__()
        self.id = str(uuid.uuid4())
        self.app = app
        self.functions = {}  # metadata by name
        self.logs = []
        self.outgoing = queue.SimpleQueue()
        self.waiting = {}  # futures by what they wait for
        self.lock = threading.Lock()
        self.connected = self.expect("start_stream")

    def expect(self, *key):
        with self.lock:
            return self.waiting.setdefault(key, concurrent.futures.Future())

    def forget(self, *key):
        with self.lock:
            return self.waiting.pop(key, None)

    def send(self, **content):
        self.outgoing.put(dict(content, request_id=self.id))

    def read(self, incoming):
        """Takes what the worker sends until its stream ends. Runs on a thread of its own."""
        self.take("start_stream", {})
        try:
            for message in incoming:
                self.take(*protocol.content(message))
        except grpc.RpcError:
            pass
        self.outgoing.put(None)
        self.leave("the worker's stream has ended")

    def leave(self, why):
        with self.lock:
            left, self.waiting = self.waiting, {}
        for future in left.values():
            future.set_exception(Failed(why))

    def take(self, name, content):
        if name == "rpc_log":
            self.logs.append(content)
            return
        key = [content[field] for field in ("invocation_id", "function_id") if field in content][:1]
        future = self.forget(name, *key)
        if future:
            future.set_result(content)

    def ask(self, answer, key=(), **content):
        """Sends a message; gives its answer."""
        future = self.expect(answer, *key)
        self.send(**content)
        return future.result(SECONDS)

    def load(self, worker):
        """What the host does before the first invocation."""
        self.connected.result(SECONDS)
        answer = self.ask("worker_init_response", worker_init_request={
            "host_version": HOST_VERSION, "capabilities": {}, "function_app_directory": self.app,
            "worker_directory": os.path.dirname(worker.script)})
        check(answer["result"])
        self.functions = functions_of(self.app)
        if worker.generation.indexes:
            answer = self.ask("function_metadata_response",
                              functions_metadata_request={"function_app_directory": self.app})
            check(answer["result"])
            if not answer.get("use_default_metadata_indexing"):
                self.functions = {each["name"]: each for each in answer["function_metadata_results"]}
        for metadata in self.functions.values():
            name = metadata["function_id"]
            answer = self.ask("function_load_response", [name],
                              function_load_request={"function_id": name, "metadata": metadata})
            check(answer["result"])

    def begin(self, name, query=None, body=b""):
        """Invokes a function over HTTP. Gives a future of the message that answers."""
        invocation = str(uuid.uuid4())
        metadata = self.functions[name]
        (trigger,) = [each for each, binding in metadata["bindings"].items() if binding["type"] == "httpTrigger"]
        future = self.expect("invocation_response", invocation)
        http = {"method": "GET", "url": f"http://localhost:7071/api/{name}", "query": query or {},
                "body": {"bytes": body}, "headers": {"host": "localhost:7071"}}
        self.send(invocation_request={"invocation_id": invocation, "function_id": metadata["function_id"],
                                      "input_data": [{"name": trigger, "data": {"http": http}}]})
        return future

    @staticmethod
    def finish(future):
        answer = future.result(SECONDS)
        check(answer["result"])
        return Response(answer.get("return_value", {}))

    def invoke(self, name, query=None, body=b""):
        """Invokes a function; gives its Response. Raises Failed."""
        return self.finish(self.begin(name, query, body))

    def invoke_many(self, names, count, concurrency, query=None):
        """Invokes functions in turns, so many at a time. Gives the Responses in order."""
        chosen = [names] if isinstance(names, str) else list(names)
        with concurrent.futures.ThreadPoolExecutor(concurrency) as pool:
            waiting = [pool.submit(self.invoke, chosen[number % len(chosen)], dict(query or {}, number=str(number)))
                       for number in range(count)]
            return [each.result() for each in waiting]

    def hang_up(self):
        """Ends the stream, and leaves the process."""
        self.outgoing.put(None)

    def wait_for_log(self, message, times):
        """Until the worker has sent so many logs with that message."""
        late = time.monotonic() + SECONDS
        while sum(log["message"] == message for log in self.logs) < times:
            if time.monotonic() > late:
                raise Failed(f"no {message!r} in the logs after {SECONDS} s")
            time.sleep(0.01)


class Host:
    def __init__(self):
        self.started = {}  # by id
        self.programs = []
        self.pool = concurrent.futures.ThreadPoolExecutor(32)
        limits = [("grpc.max_receive_message_length", MAX_MESSAGE), ("grpc.max_send_message_length", MAX_MESSAGE)]
        self.server = grpc.server(self.pool, options=limits)
        handler = grpc.stream_stream_rpc_method_handler(
            self.serve, lambda data: protocol.decode("StreamingMessage", data),
            lambda message: protocol.encode("StreamingMessage", message))
        self.server.add_generic_rpc_handlers(
            [grpc.method_handlers_generic_handler(protocol.SERVICE, {protocol.STREAM: handler})])
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for program in self.programs:
            if program.process.poll() is None:
                program.kill()
        self.server.stop(None).wait()
        self.pool.shutdown()

    def serve(self, incoming, _):
        """One stream for each worker, on a thread of the pool: gives what is sent to it."""
        _, start = protocol.content(next(incoming))
        started = self.started[start["worker_id"]]
        threading.Thread(target=started.read, args=(incoming,), daemon=True).start()
        yield from iter(started.outgoing.get, None)

    def arguments(self, worker, started):
        uri = f"http://127.0.0.1:{self.port}/"
        old = ["--host", "127.0.0.1", "--port", str(self.port), "--workerId", started.id, "--requestId", started.id,
               "--grpcMaxMessageLength", str(MAX_MESSAGE)]
        new = ["--functions-uri", uri, "--functions-worker-id", started.id, "--functions-request-id", started.id,
               "--functions-grpc-max-message-length", str(MAX_MESSAGE)]
        return old + (new if worker.generation.modern else [])

    @staticmethod
    def environment(worker, app, changes, preload):
        """PYTHONPATH stands for the virtual environment that is active where a developer starts the host."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(NOT_INHERITED)}
        version = "{}.{}".format(*worker.python.version)
        changes = dict(changes or {}, **({"LD_PRELOAD": preload} if preload else {}))
        return dict(inherited, FUNCTIONS_WORKER_RUNTIME="python", FUNCTIONS_WORKER_RUNTIME_VERSION=version,
                    AzureWebJobsScriptRoot=app, PYTHONPATH=os.path.join(app, ".python_packages/lib/site-packages"),
                    **changes)

    def prepare(self, worker, app):
        """A worker to be, and the command that starts it."""
        started = Started(app)
        self.started[started.id] = started
        return started, [worker.python.path, worker.script, *self.arguments(worker, started)]

    def run(self, program, command, folder, environment):
        self.programs.append(program)
        program.run(command, cwd=folder, env=environment)

    def start(self, worker, app, env=None, preload=None, cwd=None):
        """Starts a worker for the app in a folder and loads the app. env: its app settings; preload: the library."""
        started, command = self.prepare(worker, app)
        self.run(started, command, cwd or app, self.environment(worker, app, env, preload))
        try:
            started.load(worker)
        except (Failed, concurrent.futures.TimeoutError) as failed:
            started.kill()
            raise Failed(f"{failed}\n{started.stdout}\n{started.stderr}") from failed
        return started

    def start_several(self, worker, app, count, env=None, preload=None):
        """Starts workers as children of a process that is no Python, as func is none. Gives it and them."""
        several, commands = zip(*[self.prepare(worker, app) for _ in range(count)])
        script = "".join(f"{shlex.join(command)} & " for command in commands) + "wait"
        func = Func(several)
        self.run(func, ["sh", "-c", script], app, self.environment(worker, app, env, preload))
        for started in several:
            started.load(worker)
        return func, several
