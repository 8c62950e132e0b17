"""What every job works with."""

from dataclasses import dataclass

from tunefarm_coordinator.artifacts import ArtifactStore
from tunefarm_coordinator.compute.client import ComputeClient
from tunefarm_coordinator.control.farm import FarmControl
from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.references import References
from tunefarm_coordinator.fault_points import FaultPoints
from tunefarm_coordinator.schedules.store import Store


@dataclass(frozen=True)
class Services:
    """Wired once, in main.py."""

    store: Store
    compute: ComputeClient
    farm: FarmControl
    artifacts: ArtifactStore
    folders: Folders
    faults: FaultPoints
    references: References
