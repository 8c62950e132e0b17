"""One template a file; `registry.template` enters it."""
