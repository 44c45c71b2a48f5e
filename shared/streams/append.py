"""Adding an entry to a work stream past every door: results, observations, inquiries, verdicts.

What is added here is never gated by admission, since it concerns money that is under way already. This module must
never add an entry twice.
"""

from redis.asyncio import Redis
from redis.exceptions import RedisError

from shared.contracts import Envelope
from shared.errors import OutcomeUnknown, Transient
from shared.streams.client import command, refused, unreachable
from shared.streams.permits import ALONE, Replicas


async def append_entry(client: Redis, stream: str, envelope: Envelope, *, replicas: Replicas = ALONE) -> None:
    """Add one entry; with replicas, return only once they have it.

    Raises:
        OutcomeUnknown: the reply was lost, or too few replicas acknowledged; the entry may stand in the stream.
        Transient: the server takes no writes for now; it does not.
    """
    words = [part for pair in envelope.fields().items() for part in pair]
    try:
        if replicas.least <= 0:
            await command(client, "XADD", stream, "*", *words)
            return
        async with client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command("XADD", stream, "*", *words)
            pipeline.execute_command("WAIT", replicas.least, replicas.timeout_ms)
            _, acknowledged = await pipeline.execute()
    except (RedisError, OSError) as error:
        if unreachable(error):
            raise OutcomeUnknown(f"the reply was lost: {type(error).__name__}", code="redis_lost") from error
        if refused(error):
            raise Transient(f"the server takes no writes: {type(error).__name__}", code="redis_unavailable") from error
        raise
    if acknowledged < replicas.least:
        raise OutcomeUnknown(f"{acknowledged} of {replicas.least} replicas have the entry", code="too_few_replicas")
