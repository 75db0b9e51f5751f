"""Request models: one frozen pydantic model holds what an endpoint takes from path, query, headers and body.

    class SendMessageRequest(RequestModel):
        room_id: InPath[RoomId]                  # {roomId} in the route's path
        event_type: InPath[str]                  # {eventType}
        txn_id: InPath[str]                      # {txnId}
        content: WholeBody[dict[str, Any]]       # the whole JSON object

    class GetRoomEventsRequest(RequestModel):
        room_id: InPath[RoomId]
        start: InQuery[str | None] = Field(default=None, alias="from")   # ?from=
        limit: InQuery[int] = 10                 # ?limit=; "true"/"false" for bool, all values for a list
        dir: InQuery[Literal["b", "f"]]

    class InviteUserRequest(RequestModel):
        room_id: InPath[RoomId]
        invited: UserId = Field(alias="user_id") # unmarked: a key of the JSON body, here with a name of its own
        reason: str | None = None

Path parameters are named after the field in camelCase; query and body keys are the alias, or the field's own name;
headers are the alias, or the field's name with hyphens. Types are strict: `"1"` is no integer in a body. Keys that the
model does not name are ignored. A path parameter with a default may be left out at the end of the path.

Nested objects are `RequestModel`s of unmarked fields. Tests may call a model with its field names.

Errors: missing → `M_MISSING_PARAM`; wrong type in the body → `M_BAD_JSON`; a value of the right type that is not
allowed, and anything wrong in path, query or headers → `M_INVALID_PARAM`.
"""

from typing import Annotated, Any, ClassVar, TypeVar, cast

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler
from pydantic_core import CoreSchema

T = TypeVar("T")


class Marker:
    """Says which part of a request a field comes from."""

    __slots__ = ("source",)

    def __init__(self, source: str) -> None:
        self.source = source


InPath = Annotated[T, Marker("path")]
InQuery = Annotated[T, Marker("query")]
InHeader = Annotated[T, Marker("header")]
WholeBody = Annotated[T, Marker("whole")]
StreamedBody = Annotated[T, Marker("stream")]
"""For a field of type `web.body.BodyStream`: the body is not read before the endpoint runs (uploads)."""

# JSON has one sequence type and no enumerations, so strictness must not ask for Python's own.
_LAX_TYPES = frozenset({"tuple", "set", "frozenset", "enum"})


def marker_of(model: type[BaseModel], field_name: str) -> Marker | None:
    """The marker of a field, None for a key of the body."""
    for item in model.__pydantic_fields__[field_name].metadata:
        if isinstance(item, Marker):
            return item
    return None


def prefixed_key(source: str, field_name: str) -> str:
    """The key under which a marked field is handed to pydantic."""
    return f"{source} {field_name}"


def _accept_json_types(node: Any, handler: GetCoreSchemaHandler) -> None:
    if isinstance(node, dict):
        kind = node.get("type")
        if kind == "definition-ref":  # enumerations are defined apart; other models have been through here already
            referenced: Any = handler.resolve_ref_schema(cast("CoreSchema", node))
            if referenced.get("type") == "enum":
                referenced["strict"] = False
        elif isinstance(kind, str) and kind in _LAX_TYPES:  # a mapping of fields may have one called `type`
            node["strict"] = False
        for child in node.values():
            _accept_json_types(child, handler)
    elif isinstance(node, list | tuple):
        for child in node:
            _accept_json_types(child, handler)


class RequestModel(BaseModel):
    """Base of all request models; see the module's docstring."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        strict=True,
        frozen=True,
        extra="ignore",
        validate_by_name=True,
        validate_by_alias=True,
        protected_namespaces=(),
        arbitrary_types_allowed=True,
    )

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[BaseModel], handler: GetCoreSchemaHandler) -> CoreSchema:
        """Prefix the keys of marked fields, so that a body can never fill a field of the path or the query."""
        schema: Any = handler(source)
        _accept_json_types(schema, handler)
        fields = schema.get("schema", {}).get("fields", {})
        for name in fields:
            marker = marker_of(cls, name)
            if marker is not None:
                fields[name]["validation_alias"] = prefixed_key(marker.source, name)
        result: CoreSchema = schema
        return result
