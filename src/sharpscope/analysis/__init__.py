"""From the ledger of a study to what it says: statistics, figures and the report. Needs no torch."""
