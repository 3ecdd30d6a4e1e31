"""Read the files of infra/azureml with Azure Machine Learning's own SDK; print what it sends the service.

Args: the folder, and what is set in the deployment as by `az … --set`: names, each with its value behind it.
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
deployment = load_online_deployment(
    folder / "deployment.yml",
    params_override=[{name: value} for name, value in zip(sys.argv[2::2], sys.argv[3::2], strict=True)],
)
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
