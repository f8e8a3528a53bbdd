"""The exporter's one part."""

from libs.common.process import Runtime
from services.timeline.exporter.copier import Copier
from services.timeline.exporter.settings import ExporterSettings
from services.timeline.exporter.target import Target


async def wire(runtime: Runtime) -> None:
    """What copies; its readiness says how far it is."""
    settings = ExporterSettings.read()
    copier = Copier(runtime.database, runtime.bus, Target(settings.target()), settings)
    runtime.health.add("export", copier.ready)
    runtime.add("copier", copier)
