//! Codes that are numbers, each for the one system that gives them a meaning.
//!
//! A bare number says nothing: the caller knows which system speaks and asks the
//! right function. `None` means "known system, no opinion".

use super::Reading;
use crate::policy::taxonomy::meaning::Meaning::{
    Cost, Human, Lock, Persistent, Rate, Semantic, Transient,
};
use crate::policy::taxonomy::meaning::Weight::{Broad, Exact, Status};

/// Reads a five-character SQLSTATE. Source: PostgreSQL appendix A, ISO 9075.
pub(in super::super) fn sqlstate(code: &str) -> Option<Reading> {
    let is_state = code.len() == 5
        && code
            .bytes()
            .all(|b| b.is_ascii_digit() || b.is_ascii_uppercase());
    if !is_state {
        return None;
    }
    let meaning = match code {
        "40001" | "40P01" | "55P03" | "55006" | "HY000L" => Lock,
        "57014" | "57P01" | "57P02" | "57P03" | "57P05" | "53300" | "53200" | "53000" | "25P03"
        | "HYT00" | "HYT01" => Transient,
        "25006" | "42501" | "53100" | "58030" | "XX001" | "XX002" | "F0000" | "53400" => Persistent,
        _ => match &code[..2] {
            "08" => Transient,
            "40" => Lock,
            "28" | "0L" | "0P" | "58" => Persistent,
            "0A" | "20" | "21" | "22" | "23" | "24" | "25" | "26" | "2B" | "2D" | "2F" | "34"
            | "38" | "39" | "3B" | "3D" | "3F" | "42" | "44" | "54" | "55" | "P0" | "XX" => {
                Semantic
            }
            _ => return None,
        },
    };
    Some((meaning, Exact))
}

/// Reads a MySQL or MariaDB error number.
pub(in super::super) fn mysql(code: i64) -> Option<Reading> {
    let meaning = match code {
        1205 | 1213 | 3572 | 1099 | 1100 => Lock,
        1040
        | 1053
        | 1077
        | 1158..=1161
        | 2002
        | 2003
        | 2005
        | 2006
        | 2013
        | 2055
        | 3024
        | 1317
        | 1927
        | 1969 => Transient,
        1226 => Cost,
        1021 | 1114 | 1030 | 1034 | 1194 | 1195 | 1036 | 1044 | 1045 | 1142 | 1143 | 1227
        | 1290 | 1698 | 1792 | 1820 | 1862 | 3118 | 2026 | 1129 | 1130 | 1836 => Persistent,
        1000..=1999 | 3000..=4999 => Semantic,
        _ => return None,
    };
    Some((meaning, Exact))
}

/// Reads a MongoDB error code. Source: `error_codes.yml` of the server.
pub(in super::super) fn mongo(code: i64) -> Option<Reading> {
    let meaning = match code {
        24 | 46 | 112 | 117 | 225 | 251 | 244 => Lock,
        6 | 7 | 50 | 89 | 91 | 134 | 189 | 202 | 262 | 317 | 358 | 384 | 9001 | 10107 | 11600
        | 11602 | 13435 | 13436 => Transient,
        11 | 13 | 18 | 8000 | 14031 | 334 => Persistent,
        2 | 9 | 14 | 20 | 26 | 27 | 28 | 40 | 43 | 48 | 52 | 66 | 67 | 85 | 86 | 121 | 11000
        | 11001 | 17280 | 10334 => Semantic,
        16500 => Rate,
        _ => return None,
    };
    Some((meaning, Exact))
}

/// Reads an Oracle `ORA-` number.
pub(in super::super) fn oracle(code: i64) -> Option<Reading> {
    let meaning = match code {
        54 | 60 | 8177 | 30006 | 4020 | 4021 => Lock,
        20 | 18 | 1033 | 1034 | 1089 | 1090 | 3113 | 3114 | 3135 | 12170 | 12514 | 12516
        | 12519 | 12520 | 12537 | 12541 | 12543 | 12545 | 12547 | 12560 | 12571 | 12154 | 257
        | 1013 | 51 => Transient,
        1017
        | 28000
        | 28001
        | 1031
        | 1045
        | 1109
        | 1578
        | 1650..=1659
        | 1688
        | 1691
        | 16000
        | 19809
        | 30036
        | 1536 => Persistent,
        2391 | 2392 => Cost,
        1..=32_767 => Semantic,
        _ => return None,
    };
    Some((meaning, Exact))
}

/// Reads a Microsoft SQL Server message number. Source: Azure SQL "troubleshoot transient errors".
pub(in super::super) fn sql_server(code: i64) -> Option<Reading> {
    let meaning = match code {
        1205 | 1222 | 3960 => Lock,
        -2 | 64 | 233 | 258 | 4060 | 4221 | 10053 | 10054 | 10060 | 10928 | 10929 | 40143
        | 40197 | 40501 | 40613 | 49918 | 49919 | 49920 | 11001 | 40549 | 40550 => Transient,
        40544 => Cost,
        229 | 230 | 262 | 300 | 916 | 1105 | 3906 | 9002 | 18452 | 18456 | 18470 | 18487
        | 18488 | 40615 | 823 | 824 => Persistent,
        _ => return None,
    };
    Some((meaning, Exact))
}

/// Reads an SQLite result code, primary or extended.
pub(in super::super) fn sqlite(code: i64) -> Option<Reading> {
    let meaning = match code & 0xff {
        5 | 6 | 15 => Lock,
        9 => Transient,
        3 | 8 | 10 | 11 | 13 | 23 | 26 => Persistent,
        1 | 12 | 14 | 17..=21 | 25 => Semantic,
        _ => return None,
    };
    Some((meaning, Exact))
}

/// Reads a gRPC status number. Source: grpc `statuscodes.md`.
pub(in super::super) fn grpc(code: i64) -> Option<Reading> {
    let meaning = match code {
        1 | 4 | 10 | 13 | 14 => Transient,
        8 => Rate,
        7 | 15 | 16 => Persistent,
        2 | 3 | 5 | 6 | 9 | 11 | 12 => Semantic,
        _ => return None,
    };
    Some((meaning, Broad))
}

/// Reads a Twilio error number.
pub(in super::super) fn twilio(code: i64) -> Option<Reading> {
    let meaning = match code {
        20429 | 14107 | 30022 => Rate,
        20003 | 20005 | 20006 | 20008 | 20403 | 10001 | 20101 | 20104 => Persistent,
        63038 | 30002 | 30010 | 10002 | 10004 => Cost,
        20500 | 20503 | 20504 | 30001 | 30017 | 11200 | 11205 => Transient,
        20001 | 20404 | 20409 | 21200..=21999 | 30003..=30007 => Semantic,
        _ => return None,
    };
    Some((meaning, Exact))
}

/// Reads a Graph API (Facebook, Instagram, WhatsApp) error code.
pub(in super::super) fn facebook(code: i64) -> Option<Reading> {
    let meaning = match code {
        1 | 2 | 131_000 | 131_016 => Transient,
        4 | 17 | 32 | 613 | 80_000..=80_014 | 130_429 | 131_048 | 131_056 => Rate,
        10 | 102 | 190 | 200..=299 | 459 | 463 | 464 | 467 | 131_031 => Persistent,
        368 => Persistent,
        100 | 803 | 1609005 => Semantic,
        131_042 => Cost,
        _ => return None,
    };
    Some((meaning, Exact))
}

/// Reads curl's exit code. Source: `man curl`, EXIT CODES.
///
/// 22 is left to the message, which carries the HTTP status.
pub(in super::super) fn curl_exit(code: i64) -> Option<Reading> {
    let meaning = match code {
        // TLS and socket errors: the message may know better, e.g. a certificate.
        16 | 35 | 55 | 56 | 97 => return Some((Transient, Status)),
        // It could not write what it got.
        23 => return Some((Persistent, Status)),
        5..=8 | 12 | 18 | 28 | 52 | 79 | 81 | 92 | 95 | 96 | 100 => Transient,
        9 | 25 | 51 | 53 | 54 | 58 | 59 | 60 | 64 | 66 | 67 | 69 | 70 | 77 | 80 | 82 | 83 | 90
        | 91 | 94 | 98 => Persistent,
        1..=4
        | 10
        | 17
        | 19
        | 21
        | 26
        | 27
        | 33
        | 36
        | 37
        | 41
        | 43
        | 47
        | 48
        | 49
        | 61
        | 63
        | 65
        | 68
        | 73
        | 78 => Semantic,
        _ => return None,
    };
    Some((meaning, Exact))
}

/// Reads the number of a cluster block: `[TOO_MANY_REQUESTS/12/disk usage exceeded …]` is no rate.
/// Source: Elasticsearch, `ClusterBlock` ids.
pub(in super::super) fn elastic_block(id: i64) -> Option<Reading> {
    let meaning = match id {
        1 | 2 => Transient,
        4..=13 => Persistent,
        _ => return None,
    };
    Some((meaning, Exact))
}

/// Reads wget's exit code. Source: `man wget`, EXIT STATUS.
pub(in super::super) fn wget_exit(code: i64) -> Option<Reading> {
    let meaning = match code {
        4 => Transient,
        5 | 6 => Persistent,
        2 => Semantic,
        _ => return None,
    };
    Some((meaning, Exact))
}

/// Reads rsync's exit code. Source: `man rsync`, EXIT VALUES.
pub(in super::super) fn rsync_exit(code: i64) -> Option<Reading> {
    let meaning = match code {
        10 | 12 | 20 | 30 | 35 => Transient,
        1..=4 | 22 | 25 => Semantic,
        _ => return None,
    };
    Some((meaning, Exact))
}

/// Reads an HTTP status of 300 and above. Source: RFC 9110, and the pages of nginx, Cloudflare and IIS.
pub(in super::super) fn status(status: u16) -> Option<Reading> {
    let meaning = match status {
        402 | 509 => Cost,
        420 | 429 | 430 => Rate,
        423 => Lock,
        511 => Human,
        401 | 403 | 407 | 410 | 419 | 440 | 451 | 494..=498 | 507 | 526 | 561 => Persistent,
        408 | 425 | 444 | 460 | 499 => Transient,
        501 | 505 | 506 | 508 | 510 => Semantic,
        500..=599 => Transient,
        300..=499 => Semantic,
        _ => return None,
    };
    Some((meaning, Status))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_table() {
        #[rustfmt::skip]
        let rows = [
            ("a deadlock victim waits for a lock", sqlstate("40P01"), Some(Lock)),
            ("a full disk of PostgreSQL stays full", sqlstate("53100"), Some(Persistent)),
            ("a unique violation is the input's fault", sqlstate("23505"), Some(Semantic)),
            ("five letters of prose are no SQLSTATE", sqlstate("ERROR"), None),
            ("MySQL's lock wait", mysql(1205), Some(Lock)),
            ("MySQL's access denied", mysql(1045), Some(Persistent)),
            ("MongoDB's duplicate key", mongo(11000), Some(Semantic)),
            ("Oracle's deadlock", oracle(60), Some(Lock)),
            ("SQLite's extended busy", sqlite(517), Some(Lock)),
            ("gRPC unavailable", grpc(14), Some(Transient)),
            ("curl's name lookup", curl_exit(6), Some(Transient)),
            ("curl's certificate", curl_exit(60), Some(Persistent)),
            ("curl's HTTP error is told by its message", curl_exit(22), None),
            ("Cloudflare's origin timeout", status(524), Some(Transient)),
            ("Cloudflare's bad certificate", status(526), Some(Persistent)),
            ("not implemented will not be implemented by waiting", status(501), Some(Semantic)),
        ];
        for (name, reading, want) in rows {
            assert_eq!(reading.map(|(meaning, _)| meaning), want, "row: {name}");
        }
    }
}
