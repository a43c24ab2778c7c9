"""What Klaxon costs on a reference cluster: ``python -m tests.bench`` prints tables and writes docs/performance.md."""
