//! Harness of the end-to-end tests: starts the real binary and real receivers.
