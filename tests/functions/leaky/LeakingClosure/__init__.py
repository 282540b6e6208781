"""Runs in a thread of the worker's pool. A callback that is never taken off its list keeps what it closes over."""
import time

import azure.functions as func

callbacks = []


def on_shutdown(callback):
    callbacks.append(callback)


def main(req: func.HttpRequest) -> func.HttpResponse:
    state = bytearray(80_000)  # closure
    on_shutdown(lambda: state.clear())
    time.sleep(0.005)
    return func.HttpResponse(str(len(state)))
