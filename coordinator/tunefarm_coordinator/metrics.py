"""The Prometheus endpoint: read from the running jobs and the farm at every scrape, kept nowhere."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric

from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.registry import JobRegistry


class _Collector:
    def __init__(self, registry: JobRegistry, farm: FarmControl) -> None:
        self._registry = registry
        self._farm = farm

    def collect(self) -> Iterator[Metric]:
        """Gauges by job; a job's series end with it."""
        charged = GaugeMetricFamily("tunefarm_job_trials_charged", "Trials charged", labels=["job"])
        budget = GaugeMetricFamily("tunefarm_job_trials_budget", "Trials in the budget", labels=["job"])
        failed = GaugeMetricFamily("tunefarm_job_trials_failed", "Failed trials", labels=["job", "kind"])
        rate = GaugeMetricFamily("tunefarm_job_trials_per_second", "Trials per second", labels=["job"])
        for runner in self._registry.running():
            name, brain = [runner.sheet.job_id], runner.brain
            charged.add_metric(name, brain.ledger.charged)
            budget.add_metric(name, brain.ledger.budget)
            rate.add_metric(name, runner.trials_per_second)
            for kind, count in tuple(brain.failures.items()):
                failed.add_metric([*name, kind], count)
        devices = GaugeMetricFamily("tunefarm_devices", "Registered devices")
        devices.add_metric([], len(self._farm.devices()))
        yield from (charged, budget, failed, rate, devices)


def start(host: str, port: int, registry: JobRegistry, farm: FarmControl) -> None:
    """Serves /metrics in a thread of its own."""
    collectors = CollectorRegistry()
    collectors.register(_Collector(registry, farm))
    start_http_server(port, host, registry=collectors)
