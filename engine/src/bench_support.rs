//! What the micro-benchmarks in benches/ need of the inside. Not part of the API.
