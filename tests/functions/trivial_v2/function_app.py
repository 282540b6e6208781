"""The function of ../trivial in the v2 model."""
import azure.functions as func

app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route(route="Trivial")
def Trivial(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse("yes")
