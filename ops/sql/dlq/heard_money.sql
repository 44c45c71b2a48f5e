-- Whether a payment that a PSP speaks of is in the books; of one that was taken back, whether that is. Without its name,
-- what a PSP took back is found by the intent that it was for.
SELECT EXISTS (
    SELECT FROM pm.psp_tx_map AS m
    WHERE m.psp = $1 AND (m.psp_transaction_id = $2 OR ($2 IS NULL AND m.intent_id = $3))
      AND (NOT $4::boolean OR EXISTS (
          SELECT FROM pm.psp_child AS c
          WHERE c.psp = m.psp AND c.psp_transaction_id = m.psp_transaction_id
            AND c.purpose IN ('reversal', 'suspense_reversal')
      ))
)
