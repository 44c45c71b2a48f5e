"""Rules in the tests' databases: written as `paymesh rules apply` leaves them, without its ceremony."""

from typing import Any

from shared.db.pool import Pool

_COLUMNS = {
    "fee_rule": {"version": 1, "tags": [], "condition": "true", "priority": 100, "timing": "PRE"},
    "limit_rule": {"version": 1, "tags": []},
    "velocity_rule": {"version": 1, "tags": [], "condition": "true"},
}


async def rule(pool: Pool, table: str, name: str, operation: str | list[str], currency: str, **columns: Any) -> None:
    """Put a rule in force, or another version of it."""
    operations = [operation] if isinstance(operation, str) else operation
    row = {"name": name, "operations": operations, "currency": currency} | _COLUMNS[table] | columns
    names = ", ".join(row)
    places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
    changes = ", ".join(f"{column} = EXCLUDED.{column}" for column in row if column not in ("name", "version"))
    await pool.execute(
        f"INSERT INTO pm.{table} AS r ({names}) VALUES ({places})"
        f" ON CONFLICT (name) DO UPDATE SET {changes}, version = r.version + 1",
        *row.values(),
    )


async def fee(pool: Pool, name: str, operation: str | list[str], currency: str, **columns: Any) -> None:
    """Put a fee rule in force: 10 minor units to ``fee:<name>`` unless said otherwise."""
    amount = {} if "amount_expression" in columns else {"fixed_minor": 10, "bps": 0, "min_minor": 0}
    await rule(
        pool, "fee_rule", name, operation, currency, **{"beneficiary": f"fee:{name}:{currency}", **amount, **columns}
    )


async def limit(pool: Pool, name: str, operation: str | list[str], currency: str, **columns: Any) -> None:
    """Put a limit rule in force."""
    await rule(pool, "limit_rule", name, operation, currency, **columns)


async def velocity(pool: Pool, name: str, operation: str | list[str], currency: str, **columns: Any) -> None:
    """Put a velocity rule in force: rejects beyond `max_count` a user within an hour unless said otherwise."""
    more = {"per": "user", "window_s": 3600, "action": "reject", **columns}
    await rule(pool, "velocity_rule", name, operation, currency, **more)
