"""The only file that wires what the coordinator serves; loaded beside the compute child's start (`main`)."""

import asyncio
import logging

from tunefarm_coordinator import metrics
from tunefarm_coordinator.access.authority import Authority, write_secret
from tunefarm_coordinator.access.register import Register
from tunefarm_coordinator.access.roles import Role
from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.compute.client import ComputeClient
from tunefarm_coordinator.control.compiling import Compiler
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.intake import Intake
from tunefarm_coordinator.control.library import ModelLibrary
from tunefarm_coordinator.control.lookup import Lookup
from tunefarm_coordinator.control.maintenance import Maintenance
from tunefarm_coordinator.control.planning import Planner
from tunefarm_coordinator.control.references import References
from tunefarm_coordinator.control.registry import JobRegistry
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.store_watch import StoreWatch
from tunefarm_coordinator.fault_points import FaultPoints
from tunefarm_coordinator.schedules.store import Store
from tunefarm_coordinator.service.databases import Databases
from tunefarm_coordinator.service.farm import FarmServicer
from tunefarm_coordinator.service.found import FoundModels
from tunefarm_coordinator.service.schedule import ScheduleService
from tunefarm_coordinator.service.server import Access, PlainAccess, SecureAccess, open_server
from tunefarm_coordinator.service.tuning import TuningServicer
from tunefarm_coordinator.settings import Settings, tell

log = logging.getLogger("tunefarm_coordinator")

GRACE_SECONDS = 2.0


async def serve_jobs(settings: Settings, folders: Folders, compute: ComputeClient, stop: asyncio.Event) -> None:
    """Serves users and agents until `stop` is set. Raises StoreError, InvalidInput: it can't be done as set."""
    store = await asyncio.to_thread(Store.open, settings.store)
    try:
        await _serve_with(settings, folders, store, compute, stop)
    finally:
        await asyncio.to_thread(store.close)


async def _serve_with(
    settings: Settings, folders: Folders, store: Store, compute: ComputeClient, stop: asyncio.Event
) -> None:
    artifacts = ArtifactStore(folders.artifacts)
    farm = FarmControl(await asyncio.to_thread(store.next_epoch), compute.set_gates)
    maintenance = Maintenance(farm, store)
    library = ModelLibrary(folders, store)
    services = Services(
        store, compute, farm, artifacts, folders, FaultPoints(settings.fault), References(compute, artifacts)
    )
    intake = Intake(services, library)
    registry = JobRegistry(services, intake)
    tuning = TuningServicer(registry, Planner(services, intake), library, folders)
    models = FoundModels(store, Lookup(services, intake), Compiler(services))
    schedules = ScheduleService(store, models, Databases(services))
    access = await _access(settings, folders, store, farm)
    server = await open_server(tuning, FarmServicer(farm, artifacts, maintenance), schedules, access)
    watch = asyncio.create_task(StoreWatch(store, farm, server.tell_health).run(), name="store watch")
    try:
        await maintenance.recover()
        farm.start()
        # Whoever calls finds every job there, also those of before a restart.
        interrupted = await registry.recover(leave=settings.leave_interrupted)
        await server.start()
        address = f"{settings.host}:{server.port}"
        if settings.metrics is not None:
            metrics.start(*settings.metrics, registry=registry, farm=farm, store=store)
        log.info("listening", extra={"address": address, "tls": settings.secure, "store": settings.store})
        tell(settings.ready, {"address": address, "interrupted": interrupted})
        await stop.wait()
        log.info("stopping")
    finally:
        watch.cancel()
        await asyncio.gather(watch, return_exceptions=True)
        await registry.stop()
        # First the streams, so that agents hear of it at once; then whatever calls are left.
        await farm.stop()
        await maintenance.stop()
        await server.stop(GRACE_SECONDS)


async def _access(settings: Settings, folders: Folders, store: Store, farm: FarmControl) -> Access:
    """Who is let in where. On plain text: everybody."""
    address = (settings.host, settings.port)
    if not settings.secure:
        if settings.insecure:
            log.warning("plain text: everybody who reaches this port may do everything", extra={"host": settings.host})
        return PlainAccess(address)
    authority = await asyncio.to_thread(Authority.open, folders.authority)
    register = await asyncio.to_thread(Register, store, authority, farm.expel)
    if not register.tokens():
        token, _ = await register.create_token("first admin", Role.ADMIN, "", None)
        file = folders.authority / "admin.token"
        await asyncio.to_thread(write_secret, file, f"{token}\n".encode())
        log.info("the first admin's token was written", extra={"file": str(file)})
    return SecureAccess(address, settings.agent_address, authority, register)
