//! How far foreign input may make anything grow.
//!
//! One table, so that the worst case of memory can be added up: a body or a
//! reply costs its bytes, plus at most [`NODES_MAX`] tree nodes while one
//! message or frame of it is looked at.

/// Longest request body, in bytes; images make them large, histories do not.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Deepest nesting of objects and arrays in a request body.
pub const DEPTH_MAX: usize = 128;
/// Most fields of one object that is opened, and most elements of one list.
pub const ITEMS_MAX: usize = 65_536;
/// Most JSON values in one message or frame; a larger one is kept as opaque.
pub const NODES_MAX: usize = 250_000;
/// Longest frame of a stream, in bytes: a final event repeats the whole reply.
pub const FRAME_BYTES_MAX: usize = 32 << 20;
/// Bytes of frames folded into one reply; beyond it, only facts are read.
pub const FOLD_BYTES_MAX: usize = 32 << 20;
/// Most blocks, calls, parts or items in one reply.
pub const PARTS_MAX: usize = 4_096;
/// Longest usage object that is read, in bytes of JSON.
pub const USAGE_BYTES_MAX: usize = 64 << 10;
/// Most fields of usage kept over a stream.
pub const USAGE_FIELDS_MAX: usize = 64;
