"""The sandbox of QP, and with it the contract of the QP API, version 1.

JSON over HTTP, UTF-8. Amounts are integers of kopecks; times are ISO 8601 in UTC. If the sandbox has an API key,
every request carries ``Authorization: Bearer <key>``. Unknown fields are refused. An error is ``{code, message}``:

====  =======================  =====================================================================================
400   INVALID_REQUEST          a field is missing, unknown or malformed; ``message`` names it
400   INVALID_SCENARIO         the test scenario makes no sense
401   UNAUTHENTICATED          the key is missing or wrong
404   NOT_FOUND                there is no such code, payment or refund
409   ORDER_CONFLICT           the order stands for a code of other terms (or the ``refundId`` for another refund)
409   NOT_CANCELLABLE          the code is being paid or was paid; ``qr`` is the code
422   OVER_LIMIT, …            business forbids it; a scenario's ``decline`` of ``create`` is such an answer
422   REFUND_EXCEEDS_PAYMENT   all refunds of a payment together are at most the payment
422   NOT_REFUNDABLE           the payment is not accepted
429   …                        and 5xx: as scenarios say; ``Retry-After`` in seconds where they say so
====  =======================  =====================================================================================

POST /qp/v1/qrs
    Create a code. ``{order, amount?, ttlSeconds?, qrType: "dynamic" | "static", note?}``; ``order`` is the partner's
    reference, 1 to 40 of ``A-Za-z0-9_-``; ``ttlSeconds`` 1 to 259200, by default 1200, for dynamic codes only, which
    also need an amount. The same order on the same terms gives the same code again, whatever has become of it.
    → a code: ``{qrcId, order, qrType, amount, currency: "RUB", payload, status, createdAt, expiresAt}``; ``payload``
    is the link to show as a QR code.

GET /qp/v1/qrs/{qrcId}
    → the code. GET /qp/v1/qrs?order=… → ``{qrs: [code]}``, empty where the order is unknown.

DELETE /qp/v1/qrs/{qrcId}
    Cancel. → the code, CANCELLED or EXPIRED: nobody can pay it any more. 409 NOT_CANCELLABLE.

GET /qp/v1/qrs/{qrcId}/payments
    → ``{payments: [payment]}``, oldest first; a static code has many, a dynamic one may (see below).

GET /qp/v1/payments/{paymentId}
    → a payment: ``{paymentId, qrcId, order, amount, currency, status, errorCode, createdAt, refunded}``.

POST /qp/v1/refunds
    Give back. ``{refundId, paymentId, amount, note?}``; idempotent by ``refundId`` (1 to 40 of ``A-Za-z0-9_-``).
    → ``{refundId, paymentId, amount, currency, status, errorCode, createdAt}``; ``status`` is IN_PROGRESS, COMPLETED
    or DECLINED. GET /qp/v1/refunds/{refundId} → the same.

A code is NEW → IN_PROGRESS → PAID | EXPIRED | CANCELLED. Its payments have states of their own: IN_PROGRESS →
ACCEPTED | DECLINED, and REVERSED if an accepted one is taken back. A declined payment returns the code to NEW, the
third one cancels it. A static code stays NEW, however often it is paid. A payment that was under way when the code
expired or was paid may still be accepted: then the code has an accepted payment, or two, that its state does not show.

Callbacks (see `adapters.sandbox.callbacks` for signature and retries): one for every final state of a payment,
``{eventId, occurredAt, kind: "PAYMENT", paymentId, qrcId, order, amount, currency, status, errorCode}``, and of a
refund, ``{eventId, occurredAt, kind: "REFUND", refundId, paymentId, order, amount, currency, status, errorCode}``.

For tests, ``POST`` bodies take ``testScenario``, and ``note`` may carry ``#sandbox:<script>#``; the operations are
``create``, ``get``, ``find``, ``delete``, ``payments``, ``payment``, ``refund`` and ``refund_status``. Control has in
addition::

    POST /control/pay                        {order | qrcId, amount?, count?, force?, scenario?} → {payments}
    POST /control/qrs/{qrcId}/expire         now, whatever its time
    POST /control/payments/{id}/accept | decline | reverse     {scenario?, errorCode?}
    POST /control/refunds/{id}/complete | decline              {scenario?, errorCode?}

``pay`` refuses with 409 what no bank would let through, unless ``force`` is true: that is how a code is paid twice or
after its expiry. Its books are ``{qrs, payments, refunds, movements, accepted, paidMinor}``: how many payments were
ever accepted, and their kopecks less reversals and refunds. Rules match the request fields ``order``,
``amount``, ``qrType``, ``qrcId``, ``paymentId``, ``refundId`` and ``reference``, which is the order.
"""
