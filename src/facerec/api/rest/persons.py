"""The registry over HTTP: register, verify, identify, look up, change and delete persons."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated

from fastapi import APIRouter, Query, Response, status

from facerec.api.rest.forms import (
    FILE,
    FILES,
    FLAG,
    NUMBER,
    OBJECT,
    REVIEW,
    TEXT,
    WHOLE,
    FormRoute,
    form_of,
    image_of,
)
from facerec.api.rest.person_models import (
    EnrolmentModel,
    IdentificationModel,
    IdentifyRequest,
    IdentifyResponse,
    PersonId,
    PersonModel,
    PersonPage,
    RegisterRequest,
    UpdateRequest,
    VerifyRequest,
)
from facerec.domain import ImageReference
from facerec.observability import current_request
from facerec.services.liveness.proof import Proofs
from facerec.services.registry.service import RegistryService

PROOF = {"liveness_session_id": TEXT}
REGISTER_FORM = form_of(
    ("person_id", "images"), person_id=TEXT, images=FILES, metadata=OBJECT, review=REVIEW, **PROOF
)
UPDATE_FORM = form_of((), images=FILES, replace=FLAG, metadata=OBJECT, version=WHOLE, review=REVIEW, **PROOF)
VERIFY_FORM = form_of(("image",), image=FILE, person_id=TEXT, threshold=NUMBER, review=REVIEW, **PROOF)
IDENTIFY_FORM = form_of(("image",), image=FILE, threshold=NUMBER, max_faces=WHOLE, **PROOF)


def persons_router(registry: RegistryService, proofs: Proofs) -> APIRouter:
    """The routes of the registry."""
    router = APIRouter(route_class=FormRoute, tags=["persons"])
    _add_recognition(router, registry, proofs)
    _add_management(router, registry, proofs)
    return router


def _add_recognition(router: APIRouter, registry: RegistryService, proofs: Proofs) -> None:
    """Enrolling, and knowing again."""

    @router.post(
        "/register",
        status_code=status.HTTP_201_CREATED,
        responses={status.HTTP_200_OK: {"model": EnrolmentModel, "description": "Enrolled before"}},
        openapi_extra=REGISTER_FORM,
    )
    def register(body: RegisterRequest, response: Response) -> EnrolmentModel:
        """Enrol a new person from one or several pictures.

        Each picture is judged; those that are good, agree with each other and are nobody else's are taken.
        Where none is, the answer is an error that lists the pictures. The same pictures sent once more get
        the same answer (200).
        """
        _note([body.person_id])
        enrolment = registry.register(
            body.person_id,
            _images(body.images),
            metadata=body.metadata,
            review=body.review,
            proof=proofs.of(body.liveness_session_id),
        )
        if not enrolment.created:
            response.status_code = status.HTTP_200_OK
        return EnrolmentModel.of(enrolment)

    @router.post("/verify", openapi_extra=VERIFY_FORM)
    def verify(body: VerifyRequest) -> IdentificationModel:
        """Who the face of a picture is (1:N), or whether it is one person's (1:1, with person_id).

        A stranger is an answer: `match` is false and `person_id` null.
        """
        found = registry.verify(
            image_of(body.image, "image"),
            person_id=body.person_id,
            threshold=body.threshold,
            review=body.review,
            proof=proofs.of(body.liveness_session_id),
        )
        _note([body.person_id, found.person_id])
        return IdentificationModel.of(found)

    @router.post("/identify", openapi_extra=IDENTIFY_FORM)
    def identify(body: IdentifyRequest) -> IdentifyResponse:
        """Who each face of a photo is, the largest first; a photo without a face gives an empty list."""
        found = registry.identify(
            image_of(body.image, "image"),
            threshold=body.threshold,
            limit=body.max_faces,
            proof=proofs.of(body.liveness_session_id),
        )
        _note(one.person_id for one in found)
        return IdentifyResponse(faces=[IdentificationModel.of(one) for one in found])


def _add_management(router: APIRouter, registry: RegistryService, proofs: Proofs) -> None:
    """What is known of persons, and changing it."""

    @router.get("/persons")
    def persons(
        limit: Annotated[int, Query(ge=1, le=500)] = 100,
        next_token: Annotated[str | None, Query(max_length=255)] = None,
    ) -> PersonPage:
        """The persons in the order of their ids, a page at a time."""
        page = registry.persons(limit=limit, token=next_token)
        return PersonPage(
            persons=[PersonModel.of(person) for person in page.items], next_token=page.next_token
        )

    @router.get("/faces/{person_id}")
    def person(person_id: PersonId) -> PersonModel:
        """What is known of a person: pictures, their quality, metadata, times, version."""
        return PersonModel.of(registry.get(person_id))

    @router.put("/faces/{person_id}", openapi_extra=UPDATE_FORM)
    def update(person_id: PersonId, body: UpdateRequest) -> EnrolmentModel:
        """Add pictures to a person, replace those it has, or change its metadata.

        With `version`, only where nobody has changed the person since that version was read.
        """
        enrolment = registry.update(
            person_id,
            _images(body.images),
            replaces=body.replace,
            metadata=body.metadata,
            version=body.version,
            review=body.review,
            proof=proofs.of(body.liveness_session_id) if body.images else None,
        )
        return EnrolmentModel.of(enrolment)

    @router.delete("/faces/{person_id}", status_code=status.HTTP_204_NO_CONTENT)
    def delete(person_id: PersonId) -> None:
        """Delete a person with all that is known of it."""
        registry.delete(person_id)


def _note(person_ids: Iterable[str | None]) -> None:
    """Tell the audit log whom a search was about."""
    current_request().people.extend(each for each in person_ids if each is not None)


def _images(encoded: Sequence[str]) -> list[ImageReference]:
    return [image_of(text, f"images[{place}]") for place, text in enumerate(encoded)]
