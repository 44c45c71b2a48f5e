"""The sandbox of IPPS, and with it the contract of the IPPS API, version 1.

JSON over HTTP, UTF-8. Amounts are strings of baht with two decimals, ``"123.45"``. Times are ISO 8601 in UTC. If the
sandbox has an API key, every request carries ``Authorization: Bearer <key>``. Unknown fields are refused.

Every answer has ``statusCode``: ``"00"``, or ``"10"`` with an ``errorCode``. A business refusal is HTTP 200 with
``"10"``; an HTTP error says that the request itself could not be dealt with:

====  =====================  =======================================================================================
400   INVALID_REQUEST        a field is missing, unknown or malformed; ``errorDesc`` names it
400   INVALID_SCENARIO       the test scenario makes no sense
400   UNKNOWN_LOOKUP         no such ``lookupRef`` was ever given out; nothing was recorded
401   UNAUTHENTICATED        the key is missing or wrong
404   NOT_FOUND              nothing is known of this reference *at this moment*
409   DUPLICATE_REFERENCE    the reference was used before (fences ``cancel`` and ``reference_ttl``)
409   REFERENCE_REUSED       the reference stands for another transfer (fence ``resubmit``)
409   TOO_LATE               the transfer is settled or under way and cannot be cancelled
429   …                      and 5xx: as scenarios say; ``Retry-After`` in seconds where they say so
====  =====================  =======================================================================================

POST /v1/lookups
    Ask who would be paid. ``{proxyType, proxyValue, amount?, ref1?, ref2?, ref3?, note?}``.
    ``proxyType`` is MOBILE (``0066…``, 13 digits), NATIONAL_ID (13), EWALLET (15), BANK_ACCOUNT (bank code and account
    in one), BILLER (13 or 15 digits, with ``ref1``) or QR (the code as scanned).
    → ``{statusCode, lookupRef, expiresAt, accountNameMasked, bankCode, amount}``; ``amount`` is what a transfer must
    be for, null where anything goes. Refusals: INVALID_PROXY, INVALID_QR, AMOUNT_MISMATCH, OVER_LIMIT, UNKNOWN_PROXY…

POST /v1/transfers
    Pay. ``{lookupRef, partnerTxnUid, amount, currency: "THB", note?}``; ``partnerTxnUid`` is the partner's own
    reference, 1 to 15 of ``A-Z0-9``, new for every transfer.
    → ``{statusCode, partnerTxnUid, txnNo, status, amount, currency, errorCode}``. ``status`` is SETTLED, PROCESSING
    (final later), or REJECTED with an ``errorCode``: OVER_LIMIT, ACCOUNT_CLOSED, LOOKUP_EXPIRED, AMOUNT_MISMATCH…;
    CANCELLED where the reference was barred.

GET /v1/transfers/{partnerTxnUid}
    Inquire by the partner's reference → as above; ``status`` may also be REVERSED or CANCELLED. 404 NOT_FOUND.

POST /v1/transfers/{partnerTxnUid}/cancel
    With the fence ``cancel`` only (elsewhere 404 NO_SUCH_PATH): bar a reference, seen or not. → status CANCELLED, or
    REJECTED if it was rejected before; 409 TOO_LATE with ``status`` if it is SETTLED, PROCESSING or REVERSED.

Which late or repeated transfers are barred depends on the agreed fence: see `adapters.sandbox.terms.SubmitFence`.

Callbacks (see `adapters.sandbox.callbacks` for signature and retries): one for every status that is reached,
``{eventId, occurredAt, partnerTxnUid, txnNo, status, amount, currency, errorCode}``.

For tests, ``POST`` bodies take ``testScenario``, and ``note`` may carry ``#sandbox:<script>#``; the operations are
``lookup``, ``transfer``, ``status`` and ``cancel``. Control has in addition::

    POST /control/transfers/{partnerTxnUid}/settle | reject | reverse     {scenario?: callback words, errorCode?}

and its books are ``{lookups, transfers, movements, bars, paidMinor, payouts}``: `movements` are what moved, one line
each; `paidMinor` is payouts less reversals, in satang. Rules match the request fields ``proxyType``, ``proxyValue``,
``amount``, ``lookupRef`` and ``reference``, which is the `partnerTxnUid` (of a look-up, the `proxyValue`).
"""
