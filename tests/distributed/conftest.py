"""A Ray cluster of several nodes, all on this machine, which the tests share."""

import pytest
import ray
from ray.cluster_utils import Cluster

NODE = {"num_cpus": 1, "memory": 1 << 30, "object_store_memory": 100 << 20}


class Nodes(Cluster):
    """A cluster whose nodes are alike."""

    def add(self):
        return self.add_node(**NODE)


@pytest.fixture(scope="session")
def nodes():
    """Two nodes; tests add others, and remove these."""
    cluster = Nodes(initialize_head=True, head_node_args={**NODE, "include_dashboard": False})
    cluster.add()
    yield cluster
    if ray.is_initialized():
        ray.shutdown()
    cluster.shutdown()


def two(nodes):
    """The cluster, of two nodes again, whatever tests before did."""
    workers = [node for node in nodes.list_all_nodes() if not node.head]
    for node in workers[1:]:
        nodes.remove_node(node)
    if not workers:
        nodes.add()
    return nodes


@pytest.fixture
def cluster(nodes):
    """The cluster, to which this process is not connected."""
    if ray.is_initialized():
        ray.shutdown()
    return two(nodes)


@pytest.fixture
def connected(nodes):
    """The cluster, to which this process is connected, and stays so for the next test."""
    if not ray.is_initialized():
        ray.init(nodes.address, log_to_driver=False, logging_level="error")
    return two(nodes)
