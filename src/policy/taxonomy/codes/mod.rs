//! Codes with a known meaning, from many tools and services.
//!
//! Two kinds: names (`names`) such as `insufficient_quota` or `ECONNRESET`, and
//! numbers that mean something only for one system (`numbers`): SQLSTATE,
//! database errors, exit codes.
//!
//! Names are compared without case, punctuation, namespace and the endings
//! *Exception*, *Error*, *Fault*: `com.amazonaws.x#ThrottlingException`, `THROTTLING` and
//! `throttling_error` are one code.
//!
//! Not here: phrases (`words`) and HTTP statuses (`http`).

mod names;
mod numbers;

pub(super) use names::{lookup, lookup_token};
pub(super) use numbers::{
    curl_exit, elastic_block, facebook, grpc, mongo, mysql, oracle, rsync_exit, sql_server, sqlite,
    sqlstate, status, twilio, wget_exit,
};

use super::meaning::{Meaning, Weight};

/// What a code says.
pub(super) type Reading = (Meaning, Weight);
