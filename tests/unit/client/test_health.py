"""What a coordinator says of itself."""

from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from tunefarm import Client
from tunefarm.channel import serves


def test_a_server_that_does_not_do_its_work_says_so() -> None:
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel, Client(f"127.0.0.1:{port}") as client:
            assert serves(channel)
            assert client.healthy()
            servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
            assert not serves(channel)
            assert not client.healthy()
    finally:
        server.stop(None)
