"""A large history and the file about it, written by the database and by a loop: as many payments as one likes."""

from pathlib import Path

from shared.db.pool import Pool
from tests.integration.reconciler.settlement.scene import Line

ODD_EVERY = 5_000
"""Every so many lines names a payment that nobody here knows."""
_NAMES = """
CREATE TEMP TABLE bulk AS
SELECT n, (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - 60000 + n / 1000), 12, '0') || '7'
           || lpad(to_hex(n % 1000), 3, '0') || '8000' || lpad(to_hex(n), 8, '0') || '0000')::uuid AS id
FROM generate_series(1, {count}) AS n
"""
_INTENTS = """
INSERT INTO pm.intent (id, service_key_id, idempotency_key, operation_type, channel, amount_minor, currency, state,
                       version, funds, operation, created_at)
SELECT id, 'shop', id::text, 'IPPS_WITHDRAWAL', 'IPPS', 300, 'THB', 'SETTLED', 3, 'moved', '{}', now() FROM bulk
"""
_REFERENCES = """
INSERT INTO pm.psp_reference (psp, reference, intent_id, attempt)
SELECT 'ipps', 'R' || lpad(n::text, 14, '0'), id, 1 FROM bulk
"""
_PAYMENTS = """
INSERT INTO pm.psp_tx_map (psp, psp_transaction_id, intent_id, attempt, settles, amount_minor, currency)
SELECT 'ipps', 'T' || lpad(n::text, 19, '0'), id, 1, true, 300, 'THB' FROM bulk
"""


async def load(pool: Pool, count: int) -> None:
    """Write so many settled withdrawals, as the log has them."""
    async with pool.acquire() as connection, connection.transaction():
        await connection.execute("SET LOCAL transaction_timeout = 0")
        for sql in (_NAMES.replace("{count}", str(count)), _INTENTS, _REFERENCES, _PAYMENTS, "DROP TABLE bulk"):
            await connection.execute(sql, timeout=600)


def write(path: Path, count: int) -> None:
    """Write the file about them, and one line in `ODD_EVERY` about nobody's payment."""
    lines = total = 0
    with path.open("w", encoding="ascii", newline="\n") as file:
        file.write("HIPPS20261120\n")
        for number in range(1, count + 1):
            odd = number % ODD_EVERY == 0
            name = "X" if odd else "R"
            line = Line(f"{name}{number:014d}", f"{'U' if odd else 'T'}{number:019d}")
            file.write(line.text() + "\n")
            lines += 1
            total += line.amount_minor
        file.write(f"T{lines:09d}{total:018d}\n")
