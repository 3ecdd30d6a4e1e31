"""Read the files of infra/azureml with Azure Machine Learning's own SDK; print what it sends the service.

Args: the folder.
"""

import json
import logging
import sys
from pathlib import Path

from azure.ai.ml import load_environment, load_online_deployment, load_online_endpoint

logging.disable(logging.WARNING)
folder = Path(sys.argv[1])
endpoint = load_online_endpoint(folder / "endpoint.yml")
environment = load_environment(folder / "environment.yml")
deployment = load_online_deployment(folder / "deployment.yml")
print(
    json.dumps(
        {
            "endpoint": endpoint._to_rest_online_endpoint("westeurope").as_dict(),
            "environment": environment._to_rest_object().as_dict(),
            "deployment": deployment._to_rest_object("westeurope").as_dict(),
        },
        default=str,
    )
)
