"""Builds and asks indexes on the machines of a Ray cluster. Only here is Ray imported."""

from everygram.distributed.building import build as build
from everygram.distributed.compaction import compact as compact
