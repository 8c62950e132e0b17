"""Modules as JSON text, as `tvm.ir.save_json` writes it."""

import json
from typing import Any

import tvm
from tvm_ffi.serialization import from_json_graph_str

# At the text's end. What this very TVM wrote needs none of the changes that `tvm.ir.load_json` makes to older texts: it
# parses and writes the whole text in Python for that, which takes nine tenths of its time.
_OWN = '"metadata":' + json.dumps({"tvm_version": tvm.__version__}, separators=(",", ":")) + "}"


def load(text: str) -> Any:
    """The module that was saved as `text`. Raises as `tvm.ir.load_json`."""
    return from_json_graph_str(text) if text.endswith(_OWN) else tvm.ir.load_json(text)
