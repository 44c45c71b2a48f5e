"""Dry runs: what an operation would cost, over which channel it would go, and what it would use, without moving it.

The rules are asked by the same function that the saga plans by (`shared.rules.terms`), with the channels as this
process knows them. What only the ledger can say, whether the payer holds enough, is left to it; of what was used of
allowances the read model tells, by moments later than the ledger. Velocity rules are not asked, since they count
attempts and this is none. This module must never write anything, and never bind an idempotency key.
"""

from dataclasses import dataclass

from aiohttp import web

from gateway.calls import Call
from gateway.fields import account_of
from gateway.intents import Intents, NewIntentId
from gateway.operations import OPERATIONS, subject_of
from gateway.reads import Reads
from gateway.requests import parse_operation
from gateway.rule_views import dry_run_document
from gateway.views import json_response
from shared.ids import unix_ms_of
from shared.rules.load import RuleRegister
from shared.rules.terms import NoTerms, Terms, terms_of


@dataclass(frozen=True, slots=True)
class DryRuns:
    """The handler of ``/v1/fees/dry-run``."""

    intents: Intents
    rules: RuleRegister
    reads: Reads
    new_intent_id: NewIntentId

    async def answer(self, call: Call) -> web.Response:
        """Say what an operation would come to, to whoever may post it."""
        caller = await self.intents.authenticator.caller(call)
        request = parse_operation(caller.body)
        await self.intents.authorise(caller, request)
        intent = self.new_intent_id(0)
        subject = subject_of(request, at_ms=unix_ms_of(intent), user_id=caller.user_id)
        terms = terms_of(subject, intent=intent, book=self.rules.book, channels=self.intents.channels.seen)
        if isinstance(terms, NoTerms):
            return json_response(200, dry_run_document(subject, terms, used={}))
        wallets = [getattr(request, field) for field in OPERATIONS[request.operation_type].wallets]
        document = dry_run_document(
            subject,
            terms,
            used=await self.reads.usages([use.account for use in terms.limits]),
            unopened=await self.reads.unopened([*wallets, *_wallets_charged_for(terms)]),
        )
        return json_response(200, document)


def _wallets_charged_for(terms: Terms) -> list[str]:
    """Return the wallets that fees go to; accounts of the house are opened before a rule that names one is in force."""
    names = dict.fromkeys(fee.beneficiary for fee in terms.quote.fees)
    return [name for name in names if account_of(name).is_customer]
