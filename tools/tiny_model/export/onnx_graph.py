"""Writing ONNX files operator by operator."""

from pathlib import Path

import numpy as np

OPSET = 18
IR_VERSION = 9  # read by ONNX Runtime 1.15 and later


class Graph:
    """Collects nodes and constants; every operator returns the name of its output.

    The names of a branch begin with `prefix`; it may use the names of the graph that it is a branch of.
    """

    def __init__(self, prefix: str = ""):
        self.prefix, self.nodes, self.constants = prefix, [], []
        self._named: dict[tuple, str] = {}

    def constant(self, values, dtype=np.float32) -> str:
        from onnx import numpy_helper

        array = np.asarray(values, dtype)
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._named:
            self._named[key] = f"{self.prefix}constant_{len(self.constants)}"
            self.constants.append(numpy_helper.from_array(array, self._named[key]))
        return self._named[key]

    def whole(self, *values: int) -> str:
        return self.constant(values, np.int64)

    def op(self, kind: str, *inputs, output: str = "", **attributes) -> str:
        """`inputs` are names, or numbers that become scalar constants."""
        from onnx import helper

        inputs = [i if isinstance(i, str) else self.constant(i) for i in inputs]
        # InsightFace guesses a recogniser's input range from names that begin with Sub and Mul, hence `node_`.
        name = f"{self.prefix}node_{len(self.nodes)}_{kind}"
        output = output or name
        self.nodes.append(helper.make_node(kind, inputs, [output], name=name, **attributes))
        return output

    def choose(self, condition: str, branches: dict[str, tuple["Graph", list[str]]]) -> list[str]:
        """`branches`: "then_branch" and "else_branch" with the outputs of each, as many in both. Gives the chosen ones."""
        from onnx import helper

        graphs = {
            kind: helper.make_graph(
                branch.nodes, kind, [], [helper.make_empty_tensor_value_info(name) for name in outputs], branch.constants
            )
            for kind, (branch, outputs) in branches.items()
        }
        names = [f"{self.prefix}node_{len(self.nodes)}_{i}" for i in range(len(branches["then_branch"][1]))]
        self.nodes.append(helper.make_node("If", [condition], names, name=f"{self.prefix}node_{len(self.nodes)}_If", **graphs))
        return names

    def save(self, path: Path, inputs: list, outputs: list) -> None:
        """`inputs` and `outputs` are (name, shape) with names for free dimensions, all float32."""
        import onnx
        from onnx import TensorProto, helper

        def info(pairs):
            return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in pairs]

        graph = helper.make_graph(self.nodes, path.stem, info(inputs), info(outputs), self.constants)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="facegen")
        model.ir_version = IR_VERSION
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString(deterministic=True))
