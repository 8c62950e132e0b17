"""gRPC servicers and interceptors: validate, call, convert; no logic."""
