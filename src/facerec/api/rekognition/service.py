"""What this door needs of the service: its use cases, and the settings that show in answers."""

from __future__ import annotations

from typing import Protocol

from facerec.config import Settings
from facerec.services.analysis import AnalysisService
from facerec.services.audit import AuditLog
from facerec.services.collections import CollectionService
from facerec.services.faces import FaceService
from facerec.services.liveness.sessions import LivenessSessions
from facerec.services.people import PeopleService
from facerec.services.videos.service import VideoService


class Service(Protocol):
    """The opened service, as `bootstrap` puts it together."""

    @property
    def settings(self) -> Settings:
        """Region and account of ARNs, and the limits on a request."""

    @property
    def audit(self) -> AuditLog:
        """Where it is written who did what."""

    @property
    def collections(self) -> CollectionService:
        """Use cases of collections and their tags."""

    @property
    def faces(self) -> FaceService:
        """Use cases of a collection's faces."""

    @property
    def people(self) -> PeopleService:
        """Use cases of a collection's users."""

    @property
    def analysis(self) -> AnalysisService:
        """Use cases that store nothing."""

    @property
    def liveness(self) -> LivenessSessions:
        """Use cases of active liveness."""

    @property
    def videos(self) -> VideoService:
        """Use cases of videos."""
