"""Every long promise as a script on real brokers; `python -m tests.proof` runs them and writes docs/proof.md."""
