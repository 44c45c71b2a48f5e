"""Sandboxes: IPPS and QP as real HTTP servers with books of their own, to certify adapters against.

A test lets an adapter deal with a sandbox over HTTP, and then asks the sandbox what was really paid. Scenarios (see
`adapters.sandbox.scenario` and `adapters.sandbox.script`) make it behave badly in every way a provider has been seen
to; control (see `adapters.sandbox.control`) sets them, opens the books, moves the clock, and breaks the line. The APIs
are invented: `adapters.sandbox.ipps` and `adapters.sandbox.qp` document them as the providers would.

    python -m adapters.sandbox.ipps        python -m adapters.sandbox.qp

Nothing here may be imported by an adapter: what both knew would be tested by nobody.
"""
