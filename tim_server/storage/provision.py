"""Roles and schemas of tenants, in a PostgreSQL that we administer ourselves.

Each tenant has a role that owns a schema of the same name, carries it as `search_path`, and sees no other schema.
"""

import re

from tim_server.storage.connect import connect

DATABASE_NAME = "timserver"
_ROLE = re.compile(r"[a-z][a-z0-9_]{0,62}")

LOCK_PROVISIONING = "SELECT pg_advisory_xact_lock(hashtext('tim-server provisioning'))"
ROLE_EXISTS = "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)"

# DDL takes no parameters: the server itself quotes the names into the statement, which is then executed.
QUOTE_CREATE_ROLE = """
SELECT format('CREATE ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD %L', $1::text, $2::text)
"""
QUOTE_SET_PASSWORD = "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)"
CLOSE_PUBLIC_SCHEMA = "REVOKE ALL ON SCHEMA public FROM PUBLIC"
QUOTE_OPEN_SCHEMA = """
SELECT format('GRANT CONNECT ON DATABASE %1$I TO %2$I; CREATE SCHEMA IF NOT EXISTS %2$I AUTHORIZATION %2$I;'
              'REVOKE ALL ON SCHEMA %2$I FROM PUBLIC; ALTER ROLE %2$I SET search_path = %2$I',
              current_database(), $1::text)
"""
QUOTE_DROP_TENANT = """
SELECT format('DROP SCHEMA IF EXISTS %1$I CASCADE; DROP OWNED BY %1$I; DROP ROLE %1$I', $1::text)
"""


def is_valid_role(role: str) -> bool:
    """Whether `role` may be the name of a tenant's role: lower case letters, digits and underscores."""
    return _ROLE.fullmatch(role) is not None and not role.startswith("pg_") and role != "public"


async def create_tenant(admin_dsn: str, *, role: str, password: str) -> None:
    """Make sure that role and schema exist and that `password` is the role's; as often as one likes."""
    if not is_valid_role(role):
        raise ValueError(f"not a name for a role: {role!r}")
    connection = await connect(admin_dsn)
    try:
        async with connection.transaction():
            await connection.execute(LOCK_PROVISIONING)
            exists = await connection.fetchval(ROLE_EXISTS, role)
            statement = QUOTE_SET_PASSWORD if exists else QUOTE_CREATE_ROLE
            await connection.execute(await connection.fetchval(statement, role, password))
            await connection.execute(CLOSE_PUBLIC_SCHEMA)
            await connection.execute(await connection.fetchval(QUOTE_OPEN_SCHEMA, role))
    finally:
        await connection.close()


async def drop_tenant(admin_dsn: str, *, role: str) -> None:
    """Remove role and schema with everything in it; nothing happens when there is no such role."""
    connection = await connect(admin_dsn)
    try:
        async with connection.transaction():
            await connection.execute(LOCK_PROVISIONING)
            if await connection.fetchval(ROLE_EXISTS, role):
                await connection.execute(await connection.fetchval(QUOTE_DROP_TENANT, role))
    finally:
        await connection.close()
