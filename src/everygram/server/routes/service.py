"""What the service says of itself: whether it is ready, and which indexes it has."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse

from everygram.index import Index
from everygram.server.indexes import ServedIndex, info
from everygram.server.models.base import Problem
from everygram.server.models.service import Health, Indexes, IndexInfo, UnionInfo

router = APIRouter()
# The folder under which the files of Swagger UI are served.
SWAGGER_UI = "swagger-ui"


@router.get("/", include_in_schema=False)
def start() -> RedirectResponse:
    """To the manual."""
    return RedirectResponse("docs")


@router.get("/docs", include_in_schema=False)
def docs() -> HTMLResponse:
    """The manual, of files of this service alone, at whatever address it is reached."""
    return get_swagger_ui_html(
        openapi_url="openapi.json",
        title="everygram",
        swagger_js_url=f"{SWAGGER_UI}/swagger-ui-bundle.js",
        swagger_css_url=f"{SWAGGER_UI}/swagger-ui.css",
        swagger_favicon_url=f"{SWAGGER_UI}/favicon.png",
    )


@router.get("/health", tags=["service"], summary="Is it ready?", response_model=Health)
def health() -> Any:
    """Answers once every index is open and every kernel compiled."""
    return {"version": version("everygram")}


@router.get("/v1/indexes", tags=["indexes"], summary="List the indexes", response_model=Indexes)
def indexes(request: Request) -> Any:
    """What each index is, under the name that the other paths take."""
    served: dict[str, Index] = request.app.state.indexes
    return {"indexes": [info(name, index) for name, index in served.items()]}


@router.get(
    "/v1/indexes/{name}",
    tags=["indexes"],
    summary="Describe an index",
    response_model=UnionInfo | IndexInfo,
    responses={404: {"model": Problem, "description": "No such index."}},
)
def index(name: str, index: ServedIndex) -> Any:
    """What the index is: sizes, vocabulary, separator, tokenizer, versions."""
    return info(name, index)
