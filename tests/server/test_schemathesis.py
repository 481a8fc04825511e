"""The service keeps to its own description: schemathesis makes up requests from it.

What it makes up is fixed by a seed, so that a failure stays until its reason is gone.
"""

import time

import numpy as np
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.generation import GenerationMode
from starlette.testclient import TestClient

import everygram
from conftest import write_jsonl
from everygram.server.app import create_app
from everygram.server.openapi import operations
from everygram.server.settings import Settings
