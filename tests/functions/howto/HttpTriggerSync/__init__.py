import os

import azure.functions as func
import requests

PAGE = os.environ["PAGE"]


def main(req: func.HttpRequest) -> func.HttpResponse:
    content = profile_get_request(PAGE)  # main_sync
    return func.HttpResponse(f"Microsoft Page Response Size: {len(content)}", status_code=200)


def profile_get_request(url: str):
    response = requests.get(url)  # get
    return response.content
