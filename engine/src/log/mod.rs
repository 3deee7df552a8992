//! Bytes on the disk: frames, segments, manifest, scanning and judging. Nothing here knows of topics.

pub(crate) mod codec;
pub(crate) mod frame;
pub(crate) mod judge;
pub(crate) mod manifest;
pub(crate) mod origin;
pub(crate) mod position;
pub(crate) mod scan;
pub(crate) mod segment;
