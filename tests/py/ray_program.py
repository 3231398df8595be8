"""Run by test_ray_cluster.py with a Python that has Ray: a cluster of two workers, one of which is killed while it works.

    ray_program.py MODEL OUT     OUT gets the rows, as JSON lines
"""
import json
import pathlib
import sys
import time

import ray
import ray.data
from ray.cluster_utils import Cluster

from diffulex_edge.ray import generate_dataset
from ray_rows import OPTIONS, rows

def main(model, out):
    begin = time.monotonic()
    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=0, object_store_memory=80 << 20, include_dashboard=False)
        workers = [cluster.add_node(num_cpus=2, object_store_memory=80 << 20) for _ in range(2)]
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        ray.data.DataContext.get_current().enable_progress_bars = False
        cluster.wait_for_nodes()
        print(f"two workers after {time.monotonic() - begin:.1f} s")
        dataset = generate_dataset(ray.data.from_items(rows(), override_num_blocks=12), pathlib.Path(model).as_uri(),
                                   concurrency=2, batch_size=4, parallel=2, **OPTIONS)
        got, killed = [], False
        for row in dataset.iter_rows():
            got.append(row)
            if not killed:  # both have begun, and much is left
                cluster.remove_node(workers[1], allow_graceful=False)
                killed = True
                print(f"one killed behind the first row, after {time.monotonic() - begin:.1f} s")
        print(f"{len(got)} rows after {time.monotonic() - begin:.1f} s")
        with open(out, "w") as file:
            for row in got:
                file.write(json.dumps(row) + "\n")
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
