"""API keys over HTTP, for keys with the action `keys`.

A key sees and changes only keys that it could have created: those with at most its own rights.
"""

from __future__ import annotations

from datetime import timedelta

from quart import Blueprint, Response, g, request

from service.access.policy import AccessPolicy
from service.errors import WritesClosed
from service.keys.key import as_json
from service.keys.keys import Keys
from service.web.auditing import audit_details
from service.web.authentication import requires
from service.web.bodies import read_body
from service.web.keys.schemas import KeyInfo, KeyList, KeyWithSecret, NewKey, RotateParameters
from service.web.openapi.operation import documented
from service.web.parameters import read_parameters
from service.web.responses import json_response
from service.web.validation import validate

PATH = "/api/keys"
ERRORS = (400, 401, 403, 422, 500, 503)
NO_KEYS = (
    "This service has no keys yet; create the first one with `cascade keys create`, or set "
    "SERVICE_API_KEYS"
)


def keys_blueprint(keys: Keys, policy: AccessPolicy) -> Blueprint:
    blueprint = Blueprint("keys", __name__)

    @blueprint.before_request
    async def require_key() -> None:
        """The first key closes the service, so no anonymous caller may create it."""
        if request.method != "GET" and not policy.requires_key:
            raise WritesClosed(NO_KEYS)

    @blueprint.after_request
    async def forbid_storing(response: Response) -> Response:
        response.headers["Cache-Control"] = "no-store"
        return response

    @blueprint.post(PATH)
    @documented("keys", "keys", {201: KeyWithSecret}, ERRORS, body=NewKey)
    @requires("keys")
    async def create_key() -> Response:
        """Create a key. It has at most the rights of the key that creates it."""
        rights = validate(NewKey, await read_body(request, "the rights of the key"))
        key, text = await keys.create(rights, g.grant)
        audit_details(created_key_id=key.id, created_key_name=rights.name, actions=rights.actions)
        return json_response(as_json(key, text), 201)

    @blueprint.get(PATH)
    @documented("keys", "keys", KeyList, ERRORS)
    @requires("keys")
    async def list_keys() -> Response:
        """List the keys with at most the rights of this one, without their secrets."""
        return json_response({"keys": [as_json(key) for key in await keys.list(g.grant)]})

    @blueprint.get(f"{PATH}/<key_id>")
    @documented("keys", "key", KeyInfo, (*ERRORS, 404))
    @requires("keys")
    async def get_key(key_id: str) -> Response:
        """Read a key, without its secret."""
        return json_response(as_json(await keys.get(key_id, g.grant)))

    @blueprint.delete(f"{PATH}/<key_id>")
    @documented("keys", "key", KeyInfo, (*ERRORS, 404))
    @requires("keys")
    async def revoke_key(key_id: str) -> Response:
        """Revoke a key. Every process refuses it within two seconds."""
        revoked = await keys.revoke(key_id, g.grant)
        audit_details(revoked_key_id=revoked.id)
        return json_response(as_json(revoked))

    @blueprint.post(f"{PATH}/<key_id>/rotate")
    @documented("keys", "key_rotation", KeyWithSecret, (*ERRORS, 404), query=RotateParameters)
    @requires("keys")
    async def rotate_key(key_id: str) -> Response:
        """Give a key another secret. Its id and its rights stay."""
        parameters = read_parameters(RotateParameters, request.query_string)
        grace = timedelta(seconds=parameters.grace_s)
        key, text = await keys.rotate(key_id, grace, g.grant)
        audit_details(rotated_key_id=key.id)
        return json_response(as_json(key, text))

    return blueprint
