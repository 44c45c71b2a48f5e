"""IPPS, a Thai provider: PromptPay withdrawals and payment of Thai QR codes.

The pure part reads and writes what Thai banks print: `emvco` the QR code of a payment, `slip` that of a receipt,
`proxies` the names by which PromptPay knows an account, `amounts` baht as text, `tlv` the format underneath, and
`defects` the one error that all of them raise.

The adapter: `manifest` what IPPS promises, `mapping` its words and ours, `client` its API over HTTP, `callbacks` what
it tells of its own accord, `settings` and `main` the process.
"""
