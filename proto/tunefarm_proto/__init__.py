"""The wire contract of tunefarm: versioned protobuf packages and their generated stubs."""
