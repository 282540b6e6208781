"""Answers at once: what is measured is the worker."""
import azure.functions as func


def main(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("yes")
