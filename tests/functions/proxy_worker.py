"""The half of the worker for CPython 3.13 and later that no package index has: it speaks to the host and hands each
request to azure_functions_runtime (an app with a function_app.py) or azure_functions_runtime_v1 (one folder for each
function), which do everything else. As with the published one, asynchronous functions run on the main thread's uvloop,
others in the runtime's pool of threads, and logs go to the host.

The messages' classes come with the tests of azure-functions-runtime-v1.
"""
import argparse
import asyncio
import importlib
import logging
import os
import queue
import sys
import threading
import types

import grpc
import uvloop
from tests import protos

CONNECT_SECONDS = 5

LEVELS = [(logging.CRITICAL, protos.RpcLog.Critical), (logging.ERROR, protos.RpcLog.Error),
          (logging.WARNING, protos.RpcLog.Warning), (logging.INFO, protos.RpcLog.Information),
          (logging.DEBUG, protos.RpcLog.Debug)]


class HostHandler(logging.Handler):
    """Sends log records to the host."""

    def __init__(self, dispatcher):
        super().__init__()
        self.dispatcher = dispatcher

    def emit(self, record):
        level = next((level for least, level in LEVELS if record.levelno >= least), protos.RpcLog.Trace)
        system = record.name.startswith(("azure.functions", "azure_functions", "proxy_worker"))
        category = "System" if system else "User"
        log = protos.RpcLog(level=level, message=self.format(record), category=record.name,
                            log_category=protos.RpcLog.RpcLogCategory.Value(category),
                            invocation_id=self.dispatcher.invocation_id())
        self.dispatcher.send(rpc_log=log)


class Dispatcher:
    def __init__(self, options):
        self.options = options
        self.loop = asyncio.get_running_loop()
        self.outgoing = queue.SimpleQueue()
        self.runtime = None

    def send(self, **content):
        self.outgoing.put(protos.StreamingMessage(request_id=self.options.request_id, **content))

    def invocation_id(self):
        return self.runtime.invocation_id_cv.get() if self.runtime else None

    def poll(self):
        """Runs on a thread of its own."""
        channel = grpc.insecure_channel(f"{self.options.host}:{self.options.port}", [
            ("grpc.max_receive_message_length", self.options.grpc_max_message_length),
            ("grpc.max_send_message_length", self.options.grpc_max_message_length)])
        grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
        for request in protos.FunctionRpcStub(channel).EventStream(iter(self.outgoing.get, None)):
            self.loop.call_soon_threadsafe(self.loop.create_task, self._dispatch_grpc_request(request))

    def load_runtime(self, folder):
        script = os.environ.get("PYTHON_SCRIPT_FILE_NAME", "function_app.py")
        v2 = os.path.exists(os.path.join(folder, script))
        self.runtime = importlib.import_module("azure_functions_runtime" if v2 else "azure_functions_runtime_v1")
        self.runtime.start_threadpool_executor()

    async def _dispatch_grpc_request(self, request):
        """Requests X_request are answered by X_response, but for the one with an s too many."""
        name = request.WhichOneof("content")
        if name == "worker_status_request":
            self.send(worker_status_response=protos.WorkerStatusResponse())
            return
        if name == "worker_init_request":
            self.load_runtime(request.worker_init_request.function_app_directory)
        if name == "invocation_request":
            self.runtime.invocation_id_cv.set(request.invocation_request.invocation_id)
        wrapped = types.SimpleNamespace(name=name, request=request,
                                        properties={"host": self.options.host, "protos": protos})
        response = await getattr(self.runtime, name)(wrapped)
        self.send(**{name.replace("_request", "_response").replace("functions_", "function_"): response})

    async def run(self):
        self.send(start_stream=protos.StartStream(worker_id=self.options.worker_id))
        root = logging.getLogger()
        root.setLevel(logging.INFO)
        root.addHandler(HostHandler(self))
        threading.Thread(target=self.poll, name="grpc-thread", daemon=True).start()
        await self.loop.create_future()


def parse_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--functions-uri", required=True)
    parser.add_argument("--functions-worker-id", dest="worker_id", required=True)
    parser.add_argument("--functions-request-id", dest="request_id", required=True)
    parser.add_argument("--functions-grpc-max-message-length", dest="grpc_max_message_length", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    return parser.parse_known_args()[0]


async def start():
    await Dispatcher(parse_arguments()).run()


def main():
    uvloop.run(start())


if __name__ == "__main__":
    sys.exit(main())
