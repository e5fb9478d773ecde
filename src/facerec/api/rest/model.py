"""The model pack at work over HTTP: what it is, what its similarities mean, how well it tells who is who."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, Field

from facerec.config import Settings
from facerec.engine.base import Calibration, Engine
from facerec.engine.packs.accuracy import PackAccuracy, read_accuracy

LEVELS = (50.0, 80.0, 90.0, 95.0, 99.0)
"""Similarities whose cosines are told."""

STEPS = 200
"""Of the calibration's curve, over cosines -1 to 1."""


class ThresholdModel(BaseModel):
    """What a threshold is, as a similarity and as the cosine of two embeddings."""

    similarity: float
    cosine: float | None = Field(description="Null where no two faces of this model can be as similar.")


class PointModel(BaseModel):
    """A point of the ROC, with the 95 % interval of its true accept rate. Rates are 0 to 1."""

    false_accepts: float
    true_accepts: float
    low: float
    high: float
    cosine: float = Field(description="The threshold.")
    similarity: float = Field(description="The same as a similarity.")


class AccuracyModel(BaseModel):
    """What was measured of the pack, and on how much."""

    pairs: int
    pictures: int
    accuracy: float = Field(description="Mean over the folds, 0 to 1.")
    error: float = Field(description="Its standard error.")
    equal_error_rate: float
    roc: list[PointModel]

    @classmethod
    def of(cls, found: PackAccuracy, calibration: Calibration) -> AccuracyModel:
        """The wire form."""
        return cls(
            pairs=found.pairs,
            pictures=found.pictures,
            accuracy=found.accuracy,
            error=found.error,
            equal_error_rate=found.equal_error_rate,
            roc=[
                PointModel(
                    false_accepts=point.far,
                    true_accepts=point.tar,
                    low=point.low,
                    high=point.high,
                    cosine=round(point.cosine, 4),
                    similarity=round(calibration.similarity(min(point.cosine, 1.0)), 1),
                )
                for point in found.points
            ],
        )


class ModelModel(BaseModel):
    """The model pack that the service runs."""

    pack: str
    model_version: str
    dimension: int
    contract_id: str = Field(description="Of its embeddings: vectors of two are never compared.")
    judges_liveness: bool
    attributes: list[str] = Field(description="What it judges of a face beside where it is.")
    thresholds: list[ThresholdModel]
    calibration: list[ThresholdModel] = Field(description="The curve from cosines to similarities.")
    accuracy: AccuracyModel | None = Field(description="Null where nothing was measured.")


def model_router(engine: Engine, settings: Settings) -> APIRouter:
    """The route of the model pack."""
    router = APIRouter(tags=["model"])

    @router.get("/model")
    def model() -> ModelModel:
        """The model pack: thresholds, calibration, and what `facerec eval --keep` measured."""
        contract, calibration = engine.contract, engine.calibration
        measured = read_accuracy(settings)
        curve = (-1 + 2 * step / STEPS for step in range(STEPS + 1))
        return ModelModel(
            pack=contract.pack,
            model_version=contract.model_version,
            dimension=contract.dimension,
            contract_id=contract.id,
            judges_liveness=engine.judges_liveness,
            attributes=sorted(engine.attributes),
            thresholds=[_threshold(calibration, level) for level in LEVELS],
            calibration=[
                ThresholdModel(similarity=round(calibration.similarity(cosine), 2), cosine=round(cosine, 3))
                for cosine in curve
            ],
            accuracy=AccuracyModel.of(measured, calibration)
            if measured is not None and measured.pack == contract.pack
            else None,
        )

    return router


def _threshold(calibration: Calibration, similarity: float) -> ThresholdModel:
    cosine = calibration.cosine(similarity)
    return ThresholdModel(similarity=similarity, cosine=round(cosine, 4) if cosine <= 1 else None)
