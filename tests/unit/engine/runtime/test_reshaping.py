from __future__ import annotations

import onnx
import pytest
from onnx import TensorProto, helper
from small_networks import frozen_network

from facerec.engine.runtime.reshaping import input_shape, reshape_input
from facerec.errors import PackError


def test_the_declared_shape_is_read() -> None:
    assert input_shape(onnx.load_model_from_string(frozen_network())) == (1, 3, 16, 16)


def test_the_network_itself_is_left_as_it_is() -> None:
    network = onnx.load_model_from_string(frozen_network())
    reshape_input(network, (None, 3, None, None))
    assert network.SerializeToString() == frozen_network()


def test_the_same_shape_changes_nothing() -> None:
    network = onnx.load_model_from_string(frozen_network())
    assert reshape_input(network, (1, 3, 16, 16)) is network


def test_another_number_of_dimensions_is_refused() -> None:
    with pytest.raises(PackError, match="was asked for"):
        reshape_input(onnx.load_model_from_string(frozen_network()), (1, 3, 16))


def test_a_shape_that_the_layers_contradict_is_refused() -> None:
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, (1, 3, 8, 8))
    output = helper.make_tensor_value_info("sum", TensorProto.FLOAT, (1, 3, 8, 8))
    weight = helper.make_tensor("weight", TensorProto.FLOAT, (1, 3, 8, 8), [0.0] * 192)
    add = helper.make_node("Add", ["image", "weight"], ["sum"])
    graph = helper.make_graph([add], "sum", [image], [output], [weight])
    network = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    with pytest.raises(PackError, match="can not take inputs of the shape"):
        reshape_input(network, (1, 3, 9, 8))


def test_weights_listed_as_inputs_are_not_the_input() -> None:
    network = onnx.load_model_from_string(frozen_network())
    sizes = helper.make_tensor_value_info("sizes", TensorProto.INT64, (4,))
    network.graph.input.insert(0, sizes)
    assert input_shape(network) == (1, 3, 16, 16)


def test_a_network_without_an_input_is_refused() -> None:
    with pytest.raises(PackError, match="no input"):
        input_shape(onnx.ModelProto())
