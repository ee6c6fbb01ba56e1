"""One peer in a process of its own, so that neither threads nor memory of one disturb the other.

usage: python benchmarks/lidar/worker.py edge|open3d SCANS.npz
Answers one JSON line for each JSON line: {"do": name, ...}. The parent chooses the cores and threads of the process.
"""

import gc
import itertools
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

MODEL = Path(__file__).parents[2] / "models/lidar-objects"
RANGE_M = 100.0
COMPARED = ("street", "merged")
EPS_M, LEAST, PLANE_M, TRIES = 0.5, 5, 0.2, 100
APT = "libusb-1.0-0 libgl1 libgomp1 libegl1"


class Edge:
    """MessagePack to a row: decode, look, classify, follow."""

    def __init__(self, scans: dict[str, Any]) -> None:
        from benchmarks.lidar.scans import HEIGHT_M
        from edge.config.lidar import Lidar, LidarMount, scan_settings
        from edge.kernels.voxels import EMPTY
        from edge.lidar.chain import Ego, ScanChain
        from edge.messages import Scan
        from edge.wire.scan import ScanCodec, pack_scan

        most = max(len(points) for points in scans.values())
        whole = (-RANGE_M, RANGE_M)
        # Everything that the sensor sees, as the peers are given it; else as a pipeline file that says nothing.
        seen = Lidar(mount=LidarMount(z_m=HEIGHT_M), x_m=whole, y_m=whole, z_m=(-50.0, 50.0), range_m=(0.5, RANGE_M))
        settings = scan_settings(seen, most)
        classify, self.classifier = classifier(settings.objects_max)
        self.scans = scans
        self._chain, self._ego = ScanChain(settings, 1, classify), Ego(8.0, 0.02)
        self._codec = ScanCodec(most, 20 * most)
        fields = ("x", "y", "z", "intensity")
        self._packed = {name: pack_scan(Scan(points, fields, 1, 1, 0)) for name, points in scans.items()}
        self._table = (
            np.full(1 << (2 * most).bit_length(), EMPTY, np.int64),
            np.empty(1 << (2 * most).bit_length(), np.int32),
            np.empty(most, np.int32),
            np.empty((most, 3), np.float32),
            np.empty(most, np.int32),
            np.empty(most, np.int32),
        )
        self._flat = {name: np.ascontiguousarray(points[:, :3]) for name, points in scans.items() if name.startswith(COMPARED)}
        self._stamp = 0
        self.chain("street", 5)
        gc.collect()
        gc.freeze()
        gc.disable()

    def chain(self, scan: str, count: int, is_reduced: bool = False) -> dict[str, Any]:
        """Milliseconds of each of ``count`` scans, by the clock and of CPU time."""
        packed = [payload for name, payload in self._packed.items() if name.split("/")[0] == scan]
        took, busy, scene = [], [], None
        for i in range(count):
            payload = packed[i % len(packed)]
            before, started = time.process_time_ns(), time.perf_counter_ns()
            message = self._codec.decode(payload, 0)
            self._stamp += 100_000_000
            message.stamp_ns = self._stamp
            scene = self._chain.run(message, 0, self._ego, is_reduced=is_reduced)
            took.append((time.perf_counter_ns() - started) / 1e6)
            busy.append((time.process_time_ns() - before) / 1e6)
        found = {} if scene is None else {"points": scene.look.n, "objects": len(scene.boxes)}
        return {"ms": took, "cpu_ms": busy, **found}

    def voxels(self, size: float, count: int) -> dict[str, Any]:
        from edge.kernels.voxels import voxel_downsample

        points, size32, took, found = self._flat["street/0"], np.float32(size), [], 0
        for _ in range(count):
            started = time.perf_counter_ns()
            found = voxel_downsample(points, len(points), size32, *self._table)
            took.append((time.perf_counter_ns() - started) / 1e6)
        return {"edge": took, "edge voxels": found}

    def memory(self) -> dict[str, Any]:
        return {"kb": resident_kb()}


def resident_kb() -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


def classifier(rows: int) -> tuple[Any, str]:
    """The shipped classifier of objects, or a perceptron of its size with random weights."""
    from edge.lidar import shape

    if list(MODEL.glob("*/manifest.toml")):
        from edge.features.plan import feature_hash
        from edge.inference.bundle import load_bundle
        from edge.inference.rows import RowModel

        bundle = load_bundle(MODEL, "latest")
        return RowModel(bundle, shape.NAMES, feature_hash(shape.NAMES, shape.UNITS), rows, 1_000_000_000).score, "models/lidar-objects"
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    random, sizes = np.random.default_rng(1), (shape.SHAPE_SIZE, 32, 32, 3)
    nodes, weights, last = [], [], "x"
    for i, (wide, out) in enumerate(itertools.pairwise(sizes)):
        weights += [
            numpy_helper.from_array(random.normal(0, 0.3, (wide, out)).astype(np.float32), f"w{i}"),
            numpy_helper.from_array(np.zeros(out, np.float32), f"b{i}"),
        ]
        nodes += [helper.make_node("Gemm", [last, f"w{i}", f"b{i}"], [f"g{i}"])]
        nodes += [helper.make_node("Relu" if i < 2 else "Softmax", [f"g{i}"], [f"a{i}"])]
        last = f"a{i}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [rows, n]) for name, n in (("x", sizes[0]), (last, sizes[-1]))]
    graph = helper.make_graph(nodes, "random", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return lambda table, _n: session.run(None, {"x": table})[0], f"a 24-32-32-3 perceptron of random weights, {rows} rows a call"


class Open3D:
    """Thin out, take the plane away, cluster; and the voxels of small_gicp, which are its best part here."""

    classifier = ""

    def __init__(self, scans: dict[str, Any]) -> None:
        try:
            import open3d
            import small_gicp
        except (ImportError, OSError) as fault:
            raise SystemExit(f"Open3D cannot be imported ({fault}); it needs of the system: sudo apt-get install {APT}") from fault
        self._o3d, self._gicp = open3d, small_gicp
        open3d.utility.set_verbosity_level(open3d.utility.VerbosityLevel.Error)
        self.scans = {}
        for name, points in scans.items():
            if name.startswith(COMPARED):
                cloud = open3d.geometry.PointCloud()
                cloud.points = open3d.utility.Vector3dVector(points[:, :3].astype(np.float64))
                self.scans[name] = cloud
        self._small = small_gicp.PointCloud(scans["street/0"][:, :3].astype(np.float64))
        self.chain("street", 1, 0.2)

    def chain(self, scan: str, count: int, size: float) -> dict[str, Any]:
        """Milliseconds of each of ``count`` scans; the clouds are made beforehand, results are left where they are."""
        clouds = [cloud for name, cloud in self.scans.items() if name.split("/")[0] == scan]
        took, busy, labels = [], [], []
        for i in range(count):
            cloud = clouds[i % len(clouds)]
            before, started = time.process_time_ns(), time.perf_counter_ns()
            thin = cloud.voxel_down_sample(size)
            _, ground = thin.segment_plane(PLANE_M, 3, TRIES)
            labels = thin.select_by_index(ground, invert=True).cluster_dbscan(EPS_M, LEAST)
            took.append((time.perf_counter_ns() - started) / 1e6)
            busy.append((time.process_time_ns() - before) / 1e6)
        return {"ms": took, "cpu_ms": busy, "clusters": int(np.asarray(labels).max()) + 1}

    def voxels(self, size: float, count: int) -> dict[str, Any]:
        cloud, found = self.scans["street/0"], {"Open3D": [], "small_gicp": []}
        thin = small = None
        for _ in range(count):
            started = time.perf_counter_ns()
            thin = cloud.voxel_down_sample(size)
            middle = time.perf_counter_ns()
            small = self._gicp.voxelgrid_sampling(self._small, size, 1)
            found["Open3D"].append((middle - started) / 1e6)
            found["small_gicp"].append((time.perf_counter_ns() - middle) / 1e6)
        return {**found, "Open3D voxels": len(thin.points), "small_gicp voxels": small.size()}


def main() -> None:
    with np.load(sys.argv[2]) as table:
        scans = {name: table[name] for name in table.files}
    peer = Edge(scans) if sys.argv[1] == "edge" else Open3D(scans)
    print(json.dumps({"ready": True, "classifier": peer.classifier}), flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        print(json.dumps(getattr(peer, request.pop("do"))(**request)), flush=True)


if __name__ == "__main__":
    main()
