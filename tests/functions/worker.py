"""Starts a Functions worker. Stands in the folder with the worker's packages, where the published one has a script of
this name, and does what that one does: packages of the app go before those of the worker, and in the cloud the process
is replaced by one that runs the worker as a module.
"""
import os
import sys

# Folder of the packages that an app brings with it, below its own.
APP_PACKAGES = ".python_packages/lib/site-packages"

IN_THE_CLOUD = ("CONTAINER_NAME", "WEBSITE_INSTANCE_ID")


def main():
    folder = os.path.dirname(os.path.abspath(__file__))
    published = os.path.isdir(os.path.join(folder, "azure_functions_worker"))
    module = "azure_functions_worker" if published else "proxy_worker"
    packages = os.path.join(os.environ["AzureWebJobsScriptRoot"], APP_PACKAGES)
    os.environ["PYTHONPATH"] = os.pathsep.join([packages, folder])
    if any(name in os.environ for name in IN_THE_CLOUD):
        os.execve(sys.executable, [sys.executable, "-m", module] + sys.argv[1:], os.environ)
    sys.path[1:1] = [packages, folder]
    sys.path.append(os.environ["AzureWebJobsScriptRoot"])
    if published:
        from azure_functions_worker.main import main as run
    else:
        from proxy_worker import main as run
    run()


if __name__ == "__main__":
    main()
